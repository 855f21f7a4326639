"""Executor of ReleasePusher."""

import json
from pathlib import Path
from typing import Any

from absl import logging
from tfx.components.pusher import executor as pusher_executor
from tfx.components.util.model_utils import is_model_blessed
from tfx.types import artifact, artifact_utils

from modules import release, tflite, tflite_gate
from modules.mlmd_values import plain_values
from modules.vocabulary import Vocabulary, find_table

TFLITE_FILES: dict[tflite.Precision, tuple[str, str]] = {
    "float16": ("model_fp16", "model_fp16.tflite"),
    "int8": ("model_int8", "model_int8.tflite"),
}
REPORT_FILES = {"report.html": "report.html", "MODEL_CARD.md": "model_card.md"}


class Executor(pusher_executor.Executor):
    """Publishes a release if the Evaluator blessed the model and TFLiteEvaluator lets it pass."""

    def Do(
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Publishes, or marks the output as not pushed."""
        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        tflite_evaluation = artifact_utils.get_single_instance(input_dict["tflite_evaluation"])
        files = _read_files(tflite_evaluation)
        if not self.CheckBlessing(input_dict) or files is None or not is_model_blessed(tflite_evaluation):
            self._MarkNotPushed(pushed_model)
            return
        report = Path(artifact_utils.get_single_uri(input_dict["report"]))
        published = release.publish(
            Path(exec_properties["push_directory"]),
            saved_model_dir=Path(self.GetModelPath(input_dict)),
            tflite_files={
                name: Path(tflite.model_file(artifact_utils.get_single_uri(input_dict[key])))
                for precision, (key, name) in TFLITE_FILES.items()
                if precision in files and files[precision]["released"]
            },
            vocabulary=Vocabulary.from_table(find_table(artifact_utils.get_single_uri(input_dict["transform_graph"]))),
            documents={name: report / file for name, file in REPORT_FILES.items()},
            facts={**self._facts(input_dict, exec_properties), "tflite": files},
        )
        self._MarkPushed(pushed_model, pushed_destination=str(published), pushed_version=published.name)

    def _facts(self, input_dict: dict[str, list[artifact.Artifact]], exec_properties: dict[str, Any]) -> dict[str, Any]:
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        evaluation = artifact_utils.get_single_instance(input_dict["evaluation"])
        return {
            "pipeline": self._context.pipeline_info.id,
            "run": self._context.pipeline_run_id,
            "metrics": plain_values(evaluation.mlmd_artifact.custom_properties),
            "gate": json.loads(exec_properties["gate"]),
            "data": plain_values(examples.mlmd_artifact.custom_properties),
            "mlmd": {
                "artifact_ids": {
                    key: artifact_utils.get_single_instance(artifacts).id for key, artifacts in input_dict.items()
                },
            },
        }


def _read_files(tflite_evaluation: artifact.Artifact) -> dict[tflite.Precision, dict[str, Any]] | None:
    """What TFLiteEvaluator measured; None where that is missing, and with it the right to ship."""
    try:
        return tflite_gate.read_files(tflite_evaluation.uri)
    except OSError as error:
        logging.error("Nothing is pushed: the TFLite files' evaluation is missing (%s).", error)
        return None
