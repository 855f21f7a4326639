"""Executor of AnomalyGate."""

import os
from typing import Any

from absl import logging
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.artifact_types import Artifacts
from components.integrity import checked
from components.mlmd_properties import CONTRACT, STATISTICS_ID
from modules.common.errors import InputError

_DRIFT_TYPES = (
    anomalies_pb2.AnomalyInfo.COMPARATOR_L_INFTY_HIGH,
    anomalies_pb2.AnomalyInfo.COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH,
)
_DISTANCES = {
    anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY: "L-infinity distance",
    anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE: "Jensen-Shannon divergence",
}
_MOST = "The feature value with maximum difference is:"


class Executor(base_executor.BaseExecutor):
    """Executor that reads the anomalies of every split and fails on those that may not pass."""

    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Fails on an anomaly; drift and skew pass where `on_drift` is "warn".

        Raises:
            InputError: There are anomalies; the message describes every anomaly of every split.
        """
        anomalies = artifact_utils.get_single_instance(input_dict["anomalies"])
        problems: list[str] = []
        drift: list[str] = []
        for split in artifact_utils.decode_split_names(anomalies.split_names):
            path = os.path.join(artifact_utils.get_split_uri([anomalies], split), DEFAULT_FILE_NAME)
            with fileio.open(path, "rb") as file:
                found = anomalies_pb2.Anomalies.FromString(file.read())
            problems.extend(f"  {split}: {problem}" for problem in describe(found))
            drift.extend(f"  {split}: {problem}" for problem in describe_drift(found))
        if problems:
            raise InputError(
                f"the data breaks its contract, {exec_properties['contract']}:\n"
                + "\n".join(problems)
                + "\nFix the data, or change the contract if the data is right."
            )
        if drift and exec_properties["on_drift"] == "stop":
            raise InputError(
                "the data drifted from the last run's, or the splits differ:\n"
                + "\n".join(drift)
                + "\nCheck the data. If the change is intended, accept it with --set data.on_drift=warn; later data is "
                f"then compared with it. Or change the comparators in {exec_properties['contract']}."
            )
        for line in drift:
            logging.warning("Drift or skew:%s", line)
        statistics = artifact_utils.get_single_instance(input_dict["statistics"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        blessing.set_int_custom_property(STATISTICS_ID, statistics.id)
        blessing.set_string_custom_property(CONTRACT, exec_properties["contract"])
        blessing.set_string_custom_property("drift", "\n".join(line.strip() for line in drift))
        with fileio.open(os.path.join(blessing.uri, "BLESSED"), "w") as file:
            file.write("")


def describe(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """Returns one line per anomaly of a split, without drift and skew: the feature, the problem and the rule."""
    lines = []
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"the whole split: {anomalies.dataset_anomaly_info.description}")
    for feature, info in sorted(anomalies.anomaly_info.items()):
        reasons = [reason for reason in info.reason if reason.type not in _DRIFT_TYPES]
        if reasons:
            lines.append(
                f"`{feature}`: " + "; ".join(f"{reason.short_description}: {reason.description}" for reason in reasons)
            )
        elif not info.reason:
            lines.append(f"`{feature}`: {info.description}")
    return lines


def describe_drift(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """Returns one line per feature of a split with drift from the last run, or with skew between train and eval.

    ``"`words` drifted: L-infinity distance 0.061 is above 0.02, most in 'gauze'"``
    """
    lines = []
    for compared in anomalies.drift_skew_info:
        feature = ".".join(compared.path.step)
        values = [
            reason.description.split(_MOST)[1].strip()
            for reason in anomalies.anomaly_info[feature].reason
            if _MOST in reason.description
        ]
        most = f", most in {values[0]!r}" if values else ""
        for what, measurements in (
            ("drifted", compared.drift_measurements),
            ("differs from eval", compared.skew_measurements),
        ):
            lines += [
                f"`{feature}` {what}: {_DISTANCES[found.type]} {found.value:.3f} is above {found.threshold:g}{most}"
                for found in measurements
                if found.value > found.threshold
            ]
    return lines
