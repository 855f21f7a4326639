"""Executor of AnomalyGate."""

import os
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact, artifact_utils

from modules.errors import InputError


class Executor(base_executor.BaseExecutor):
    """Reads the anomalies of every split and fails if there is one."""

    def Do(
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fails on an anomaly.

        Raises:
            InputError: With every anomaly of every split in words.
        """
        anomalies = artifact_utils.get_single_instance(input_dict["anomalies"])
        problems: list[str] = []
        for split in artifact_utils.decode_split_names(anomalies.split_names):
            path = os.path.join(artifact_utils.get_split_uri([anomalies], split), DEFAULT_FILE_NAME)
            with fileio.open(path, "rb") as file:
                found = anomalies_pb2.Anomalies.FromString(file.read())
            problems.extend(f"  {split}: {problem}" for problem in describe(found))
        if problems:
            raise InputError(
                "the data breaks its contract, schemas/text.pbtxt:\n"
                + "\n".join(problems)
                + "\nMend the data, or change the contract if the data is right."
            )
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        with fileio.open(os.path.join(blessing.uri, "BLESSED"), "w") as file:
            file.write("")


def describe(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """One line an anomaly: the feature, what is wrong, and the rule."""
    lines = []
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"the whole split: {anomalies.dataset_anomaly_info.description}")
    for feature, info in sorted(anomalies.anomaly_info.items()):
        reasons = "; ".join(f"{reason.short_description}: {reason.description}" for reason in info.reason)
        lines.append(f"`{feature}`: {reasons or info.description}")
    return lines
