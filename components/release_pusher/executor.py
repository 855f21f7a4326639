"""Executor of ReleasePusher."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from absl import logging
from etils import epath
from tfx.components.pusher import executor as pusher_executor
from tfx.components.util.model_utils import is_model_blessed
from tfx.types import artifact, artifact_utils
from tfx.utils import path_constants

from components.artifact_types import Artifacts
from components.integrity import checked, measured_hashes
from components.mlmd_properties import plain_values
from modules.common.files import without_folders
from modules.evaluation import gates
from modules.evaluation.tflite_results import FileResult, read_results
from modules.export.tflite_files import MODEL_FILE, TFLITE_FILES, Precision, TFLiteFile, model_file
from modules.release import publishing

REPORT_FILES = {"report.html": "report.html", "MODEL_CARD.md": "model_card.md"}


class Executor(pusher_executor.Executor):
    """Executor that publishes a release if the Evaluator blessed the model and TFLiteEvaluator lets it pass."""

    @checked
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
        released = [file for file in TFLITE_FILES if file.precision in files and files[file.precision].released]
        published = publishing.publish(
            epath.Path(exec_properties["push_directory"]),
            saved_model_dir=epath.Path(self.GetModelPath(input_dict)),
            tflite_files={
                file.name: model_file(artifact_utils.get_single_uri(input_dict[file.key])) for file in released
            },
            measured=_measured(input_dict, released),
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


def _measured(input_dict: Artifacts, released: Iterable[TFLiteFile]) -> dict[str, str]:
    """Returns the SHA-256 that the evaluations recorded of the files of a release, by their paths in the release."""
    model = measured_hashes(artifact_utils.get_single_instance(input_dict["evaluation"]))["model"]
    prefix = f"{path_constants.SERVING_MODEL_DIR}/"
    files = {path.removeprefix(prefix): sha256 for path, sha256 in model.items() if path.startswith(prefix)}
    tflite = measured_hashes(artifact_utils.get_single_instance(input_dict["tflite_evaluation"]))
    return files | {f"tflite/{file.name}": tflite[file.key][MODEL_FILE] for file in released}


def _read_files(tflite_evaluation: artifact.Artifact) -> dict[Precision, FileResult] | None:
    """Reads the results of TFLiteEvaluator; None if they are missing, and then nothing is released."""
    try:
        gates.read_checks(tflite_evaluation.uri)
        return read_results(tflite_evaluation.uri)
    except OSError as error:
        logging.error("Nothing is pushed: the TFLite files' evaluation is missing (%s).", error)
        return None
