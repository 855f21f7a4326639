"""RunReport: reports the inputs, figures and verdict of a run as an HTML page and a model card."""

import json
from typing import Any

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.artifact_types import LengthCheck, Report
from components.run_report import executor


class RunReportSpec(component_spec.ComponentSpec):
    """Interface of RunReport."""

    PARAMETERS = {"configuration": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "transformed_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "length_check": component_spec.ChannelParameter(type=LengthCheck, optional=True),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        "task_evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "model_fp16": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_int8": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "tflite_evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "baseline_model": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {"report": component_spec.ChannelParameter(type=Report)}


class RunReport(base_component.BaseComponent):
    """Writer of `report.html` and `model_card.md`, for blessed and for refused models.

    The output's custom properties are `verdict`, one sentence, and `blessed` (1 or 0).
    """

    SPEC_CLASS = RunReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, *, configuration: str, **inputs: channel.BaseChannel):
        """Wires the component.

        Args:
            configuration: All settings of the run as JSON, with `data` and `model`.
            **inputs: `examples`, `transformed_examples`, `model`, `model_run`, `task_evaluation`, `evaluation`,
                `blessing`, `model_fp16`, `model_int8`, `tflite_evaluation`, `baseline_model` if there is one, and
                `length_check` for instructions and preferences.

        Raises:
            ValueError: `configuration` is not JSON, or lacks `data` or `model`.
        """
        settings: dict[str, Any] = json.loads(configuration)
        missing = {"data", "model"} - set(settings)
        if missing:
            raise ValueError(
                f"`configuration` must hold `data` and `model`. Received: no {', '.join(sorted(missing))}. "
                "Pass the whole `PipelineConfig` as JSON."
            )
        super().__init__(RunReportSpec(configuration=configuration, report=channel.Channel(type=Report), **inputs))
