"""Executor of TextValidator."""

import os
from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator import executor as example_validator
from tfx.components.example_validator import labels
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import artifact, artifact_utils, standard_component_specs
from tfx.utils import writer_utils

from components.artifact_types import Artifacts
from components.integrity import checked

# With fewer examples, shares differ by more than the contracts allow just by chance.
MIN_EXAMPLES = 100
_TRAIN, _EVAL = "train", "eval"


class Executor(example_validator.Executor):
    """Executor that validates every split as TFX does, and compares it with other statistics."""

    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> Any:
        """Writes the anomalies of every split, including drift and skew."""
        self._statistics = artifact_utils.get_single_instance(input_dict[standard_component_specs.STATISTICS_KEY])
        previous = input_dict.get("previous_statistics")
        self._previous = previous[0] if previous else None
        return super().Do(input_dict, output_dict, exec_properties)

    def _Validate(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> anomalies_pb2.Anomalies:
        """Validates a split as TFX does, with drift from the last run and, for the train split, skew from eval."""
        folder = outputs[labels.SCHEMA_DIFF_PATH]
        split = os.path.basename(folder.rstrip("/")).removeprefix("Split-")
        anomalies = tfdv.validate_statistics(
            statistics=inputs[standard_component_specs.STATISTICS_KEY],
            schema=inputs[standard_component_specs.SCHEMA_KEY],
            previous_statistics=_load(self._previous, split),
            serving_statistics=_load(self._statistics, _EVAL) if split == _TRAIN else None,
        )
        writer_utils.write_anomalies(os.path.join(folder, example_validator.DEFAULT_FILE_NAME), anomalies)
        return anomalies


def _load(statistics: artifact.Artifact | None, split: str) -> Any:
    """Loads the statistics of a split to compare with; None if there are none, or too few examples."""
    if statistics is None or split not in artifact_utils.decode_split_names(statistics.split_names):
        return None
    loaded = stats_artifact_utils.load_statistics(statistics, split).proto()
    return loaded if loaded.datasets[0].num_examples >= MIN_EXAMPLES else None
