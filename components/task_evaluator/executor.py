"""Executor of TaskEvaluator."""

from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils
from tfx.utils import path_utils

from components.artifact_types import Artifacts
from components.integrity import checked, record_measured
from modules.common import progress
from modules.data.examples import split_files
from modules.data.prompt_templates import TEMPLATES
from modules.evaluation import tasks
from modules.evaluation.tasks import Corpus, TaskSettings

NODE = "TaskEvaluator"


class Executor(base_executor.BaseExecutor):
    """Executor that evaluates the SavedModel, as a server would run it."""

    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Measures the model and writes the results, also if a check fails; the Evaluator decides on the blessing.

        Raises:
            InputError: The file of a task is bad, or a task needs another kind of corpus.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        output = artifact_utils.get_single_instance(output_dict["task_evaluation"])
        results = tasks.evaluate(
            TaskSettings.model_validate_json(exec_properties["settings"]),
            path_utils.serving_model_path(model.uri),
            _corpus(artifact_utils.get_single_instance(input_dict["examples"])),
            on_progress=lambda done, total: progress.report(NODE, done=done, total=total, unit="texts"),
        )
        results.write(output.uri)
        record_measured(output, {name: input_dict[name][0] for name in ("model", "examples")})
        for name, value in results.figures().items():
            output.set_float_custom_property(name, value)
        for name, number in results.counts().items():
            output.set_int_custom_property(name, number)


def _corpus(examples: artifact.Artifact) -> Corpus:
    template = examples.get_string_custom_property("prompt_template")
    return Corpus(
        train_files=split_files(artifact_utils.get_split_uri([examples], "train")),
        eval_files=split_files(artifact_utils.get_split_uri([examples], "eval")),
        data_kind=examples.get_string_custom_property("data_kind"),
        template=TEMPLATES[template] if template else None,
    )
