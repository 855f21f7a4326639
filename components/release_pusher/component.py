"""ReleasePusher: publishes a blessed model, its TFLite files and its tokenizer as one release folder."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.artifact_types import Report
from components.release_pusher import executor


class ReleasePusherSpec(component_spec.ComponentSpec):
    """Interface of ReleasePusher."""

    PARAMETERS = {
        "push_directory": component_spec.ExecutionParameter(type=str),
        "push_directory_id": component_spec.ExecutionParameter(type=str),
        "gate": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "model_fp16": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_int8": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "tflite_evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "report": component_spec.ChannelParameter(type=Report),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {"pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel)}


class ReleasePusher(base_component.BaseComponent):
    """Pusher of blessed models; `modules.release.publishing` describes the folder.

    The Evaluator blesses the model. TFLiteEvaluator's `files.json` states which TFLite files are released, and its
    property `blessed` states whether anything may be released.
    """

    SPEC_CLASS = ReleasePusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, *, push_directory: str, push_directory_id: str, gate: str, **inputs: channel.BaseChannel):
        """Wires the component.

        Args:
            push_directory: Folder in which `<version>/` appears; TF Serving's model base path.
            push_directory_id: `manifest.directory_id`, part of the cache key: a blessed model is pushed again after
                the directory was deleted.
            gate: JSON of the settings of `evaluation`, with the limits, for the manifest.
            **inputs: `model`, `model_blessing`, `model_fp16`, `model_int8`, `evaluation`, `tflite_evaluation`,
                `report` and `examples`.
        """
        spec = ReleasePusherSpec(
            push_directory=push_directory,
            push_directory_id=push_directory_id,
            gate=gate,
            pushed_model=channel.Channel(type=standard_artifacts.PushedModel),
            **inputs,
        )
        super().__init__(spec)
