"""PerplexityEvaluator: TFX's Evaluator with the checks of `modules.evaluation` and its figures in ML Metadata."""

from typing import Any

import tensorflow_model_analysis as tfma
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.perplexity_evaluator import executor


class PerplexityEvaluatorSpec(component_spec.ComponentSpec):
    """Interface of PerplexityEvaluator."""

    PARAMETERS: dict[str, Any] = {
        "eval_config": component_spec.ExecutionParameter(type=tfma.EvalConfig),
        "gate": component_spec.ExecutionParameter(type=str),
        "window": component_spec.ExecutionParameter(type=int),
        "strided": component_spec.ExecutionParameter(type=int),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        "task_evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "baseline_model": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        "baseline_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing, optional=True),
    }
    OUTPUTS = {
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class PerplexityEvaluator(base_beam_component.BaseBeamComponent):
    """Evaluator that measures with TFMA, as TFX's Evaluator does, and blesses a model that passed every check.

    `evaluation` holds TFMA's results, `metrics.json` (`modules.evaluation.results`) and `checks.json`
    (`modules.evaluation.gates`); its custom properties hold the main figures. `blessing` has the form that TFX's
    Evaluator writes.
    """

    SPEC_CLASS = PerplexityEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self, *, eval_config: tfma.EvalConfig, gate: str, window: int, strided: bool, **inputs: channel.BaseChannel
    ):
        """Wires the component.

        Args:
            eval_config: Metrics and slices to compute, from `model_analysis.eval_config`.
            gate: JSON of the PerplexityGateSettings.
            window: Context length of the model in tokens; it is recorded with the figures.
            strided: Whether windows overlap by half.
            **inputs: `examples`, `model`, `model_run`, `task_evaluation`, and the baseline: `baseline_model` and
                `baseline_blessing`.
        """
        super().__init__(
            PerplexityEvaluatorSpec(
                eval_config=eval_config,
                gate=gate,
                window=window,
                strided=int(strided),
                evaluation=channel.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=channel.Channel(type=standard_artifacts.ModelBlessing),
                **inputs,
            )
        )
