"""Executor of ReleasePusher."""

import dataclasses
import json
from typing import Any

from absl import logging
from etils import epath
from tfx.components.pusher import executor as pusher_executor
from tfx.components.util.model_utils import is_model_blessed
from tfx.types import artifact, artifact_utils

from components.artifact_types import Artifacts
from components.mlmd_properties import plain_values
from modules.common.files import file_facts, without_folders
from modules.evaluation import gates
from modules.evaluation.tflite_results import FileResult, read_results
from modules.export.tflite_files import TFLITE_FILES, Precision, model_file
from modules.release import publishing
from modules.tokenization.vocabulary_files import find_table, read_table

REPORT_FILES = {"report.html": "report.html", "MODEL_CARD.md": "model_card.md"}


class Executor(pusher_executor.Executor):
    """Executor that publishes a release if the Evaluator blessed the model and TFLiteEvaluator lets it pass."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Publishes the release, or marks the output as not pushed."""
        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        tflite_evaluation = artifact_utils.get_single_instance(input_dict["tflite_evaluation"])
        files = _read_files(tflite_evaluation)
        passed = _passed(artifact_utils.get_single_instance(input_dict["evaluation"]))
        blessed = self.CheckBlessing(input_dict) and is_model_blessed(tflite_evaluation)
        if files is None or not passed or not blessed:
            self._MarkNotPushed(pushed_model)
            return
        report = epath.Path(artifact_utils.get_single_uri(input_dict["report"]))
        published = publishing.publish(
            epath.Path(exec_properties["push_directory"]),
            saved_model_dir=epath.Path(self.GetModelPath(input_dict)),
            tflite_files={
                file.name: _as_measured(input_dict[file.key], files[file.precision].sha256)
                for file in TFLITE_FILES
                if file.precision in files and files[file.precision].released
            },
            vocabulary=read_table(find_table(artifact_utils.get_single_uri(input_dict["transform_graph"]))),
            documents={name: report / file for name, file in REPORT_FILES.items()},
            facts={
                **self._facts(input_dict, exec_properties),
                "tflite": {precision: dataclasses.asdict(result) for precision, result in files.items()},
            },
        )
        self._MarkPushed(pushed_model, pushed_destination=str(published), pushed_version=published.name)

    def _facts(self, input_dict: Artifacts, exec_properties: dict[str, Any]) -> dict[str, Any]:
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        evaluation = artifact_utils.get_single_instance(input_dict["evaluation"])
        return {
            "pipeline": self._context.pipeline_info.id,
            "run": self._context.pipeline_run_id,
            "metrics": plain_values(evaluation.mlmd_artifact.custom_properties),
            "gate": without_folders(json.loads(exec_properties["gate"])),
            "data": plain_values(examples.mlmd_artifact.custom_properties),
            "mlmd": {
                "artifact_ids": {
                    key: artifact_utils.get_single_instance(artifacts).id for key, artifacts in input_dict.items()
                },
            },
        }


def _passed(evaluation: artifact.Artifact) -> bool:
    """Returns whether the Evaluator's checks exist and all passed; its blessing is not enough."""
    try:
        checks = gates.read_checks(evaluation.uri)
    except OSError as error:
        logging.error("Nothing is pushed: the model's evaluation is missing (%s).", error)
        return False
    return bool(checks) and not gates.failed(checks)


def _as_measured(models: list[artifact.Artifact], sha256: str) -> epath.Path:
    """Returns the path of a TFLite file.

    Raises:
        RuntimeError: The file has changed since it was measured.
    """
    path = model_file(artifact_utils.get_single_uri(models))
    if file_facts(path)["sha256"] != sha256:
        raise RuntimeError(f"{path} is not the file that TFLiteEvaluator measured: it has changed since. Run again.")
    return epath.Path(path)


def _read_files(tflite_evaluation: artifact.Artifact) -> dict[Precision, FileResult] | None:
    """Reads the results of TFLiteEvaluator; None if they are missing, and then nothing is released."""
    try:
        gates.read_checks(tflite_evaluation.uri)
        return read_results(tflite_evaluation.uri)
    except OSError as error:
        logging.error("Nothing is pushed: the TFLite files' evaluation is missing (%s).", error)
        return None
