"""AnomalyGate: stops the pipeline on anomalies, which ExampleValidator only records."""

from typing import Any

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact, channel, component_spec, standard_artifacts

from components.anomaly_gate import executor


class DataBlessing(artifact.Artifact):
    """Mark of examples that meet their contract; it is not written if they break it.

    Its custom properties `statistics_id` and `contract` identify the statistics that passed and their contract. `drift`
    lists the drift and skew that were only a warning.
    """

    TYPE_NAME = "tfx-gpt2.DataBlessing"  # Vertex requires a name space in custom types


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
    """Gate that fails with a list of the anomalies; components that use the data must run after it."""

    SPEC_CLASS = AnomalyGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self, *, anomalies: channel.BaseChannel, statistics: channel.BaseChannel, contract: str, on_drift: str
    ):
        """Wires the component.

        Args:
            anomalies: Anomalies that TextValidator found.
            statistics: Statistics that TextValidator checked.
            contract: File of the contract, for messages and for the blessing.
            on_drift: `warn` lets drift and skew pass and records them, `stop` fails.
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
