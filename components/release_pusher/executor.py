"""Executor of ReleasePusher."""

import json
from pathlib import Path
from typing import Any

from tfx.components.pusher import executor as pusher_executor
from tfx.types import artifact, artifact_utils

from modules import release, tflite
from modules.mlmd_values import plain_values
from modules.vocabulary import Vocabulary, find_table

TFLITE_NAMES = {"model_fp16": "model_fp16.tflite", "model_int8": "model_int8.tflite"}


class Executor(pusher_executor.Executor):
    """Publishes a release if the Evaluator blessed the model; the rule is TFX's Pusher's own."""

    def Do(
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Publishes, or marks the output as not pushed."""
        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            return
        published = release.publish(
            Path(exec_properties["push_directory"]),
            saved_model_dir=Path(self.GetModelPath(input_dict)),
            tflite_files={
                name: Path(tflite.model_file(artifact_utils.get_single_uri(input_dict[key])))
                for key, name in TFLITE_NAMES.items()
            },
            vocabulary=Vocabulary.from_table(find_table(artifact_utils.get_single_uri(input_dict["transform_graph"]))),
            facts=self._facts(input_dict, exec_properties),
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
