"""Executor of PerplexityEvaluator."""

from typing import Any

from tfx.components.evaluator import executor as evaluator_executor
from tfx.types import artifact, artifact_utils

from modules import evaluation


class Executor(evaluator_executor.Executor):
    """Runs TFX's Evaluator, then copies its figures to where metadata queries find them."""

    def Do(
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates; `perplexity`, `baseline_perplexity`, `nats_per_token` and `tokens` become properties."""
        super().Do(input_dict, output_dict, exec_properties)
        evaluated = artifact_utils.get_single_instance(output_dict["evaluation"])
        for name, value in evaluation.read_metrics(evaluated.uri).items():
            evaluated.set_float_custom_property(name, value)
