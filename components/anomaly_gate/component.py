"""AnomalyGate: stops the pipeline on what ExampleValidator only records."""

from typing import Any

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact, channel, component_spec, standard_artifacts

from components.anomaly_gate import executor


class DataBlessing(artifact.Artifact):
    """Mark of examples that meet their contract. Nothing is written where they do not.

    Its custom properties `statistics_id` and `contract` name the statistics that passed and what they passed by,
    `drift` holds what was let through.
    """

    TYPE_NAME = "tfx-gpt2.DataBlessing"  # Vertex asks custom types for a name space


class AnomalyGateSpec(component_spec.ComponentSpec):
    """Interface of AnomalyGate."""

    PARAMETERS: dict[str, Any] = {
        "contract": component_spec.ExecutionParameter(type=str),
        "on_drift": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=DataBlessing)}


class AnomalyGate(base_component.BaseComponent):
    """Fails with the anomalies in words; let the components that use the data run after it."""

    SPEC_CLASS = AnomalyGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self, *, anomalies: channel.BaseChannel, statistics: channel.BaseChannel, contract: str, on_drift: str
    ):
        """Takes the `anomalies` of TextValidator.

        Args:
            anomalies: What it found.
            statistics: What it looked at.
            contract: Name of the contract's file, for the message.
            on_drift: `warn` lets drift and skew pass and takes note of them, `stop` fails.
        """
        super().__init__(
            AnomalyGateSpec(
                anomalies=anomalies,
                statistics=statistics,
                contract=contract,
                on_drift=on_drift,
                blessing=channel.Channel(type=DataBlessing),
            )
        )
