"""AnomalyGate: stops the pipeline on what ExampleValidator only records."""

from typing import Any, ClassVar

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact, channel, component_spec, standard_artifacts

from components.anomaly_gate import executor


class DataBlessing(artifact.Artifact):
    """Tells that the examples meet their contract. Nothing is written where they do not."""

    TYPE_NAME = "tfx-gpt2.DataBlessing"  # Vertex asks custom types for a name space


class AnomalyGateSpec(component_spec.ComponentSpec):
    """Interface of AnomalyGate."""

    PARAMETERS: ClassVar[dict[str, Any]] = {}
    INPUTS = {"anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies)}
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=DataBlessing)}


class AnomalyGate(base_component.BaseComponent):
    """Fails with the anomalies in words; let the components that use the data run after it."""

    SPEC_CLASS = AnomalyGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, anomalies: channel.BaseChannel):
        """Takes the `anomalies` of ExampleValidator."""
        super().__init__(AnomalyGateSpec(anomalies=anomalies, blessing=channel.Channel(type=DataBlessing)))
