"""TFLiteEvaluator: compares the perplexity of each TFLite file with the SavedModel's on the same documents."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.tflite_evaluator import executor


class TFLiteEvaluatorSpec(component_spec.ComponentSpec):
    """Interface of TFLiteEvaluator."""

    PARAMETERS = {
        "settings": component_spec.ExecutionParameter(type=str),
        "data_kind": component_spec.ExecutionParameter(type=str),
        "sequence_length": component_spec.ExecutionParameter(type=int),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_fp16": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_int8": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"tflite_evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation)}


class TFLiteEvaluator(base_component.BaseComponent):
    """Evaluator that writes `checks.json` and `files.json`; see `modules.evaluation.gates` and `tflite_gate`.

    The output's custom properties are `blessed` (1 or 0: whether anything may be released), the number of `tokens`,
    `perplexity_float`, and `perplexity_<precision>`, `rise_<precision>`, `passed_<precision>` (1 or 0). Figures that
    are not finite are left out.
    """

    SPEC_CLASS = TFLiteEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        examples: channel.BaseChannel,
        model: channel.BaseChannel,
        model_fp16: channel.BaseChannel,
        model_int8: channel.BaseChannel,
        settings: str,
        data_kind: str,
        sequence_length: int,
    ):
        """Wires the component.

        Args:
            examples: Output of TextExampleGen; its split `eval` is scored.
            model: Output of the Trainer, with the SavedModel in `Format-Serving/`.
            model_fp16: Output of TFLiteConverter.
            model_int8: Output of TFLiteConverter.
            settings: JSON of `modules.evaluation.tflite_gate.TFLiteGateSettings`.
            data_kind: Kind of the examples, one of `modules.tokenization.example_tokens.DATA_KINDS`.
            sequence_length: Tokens per window, as in the SavedModel's `evaluate`.
        """
        super().__init__(
            TFLiteEvaluatorSpec(
                examples=examples,
                model=model,
                model_fp16=model_fp16,
                model_int8=model_int8,
                settings=settings,
                data_kind=data_kind,
                sequence_length=sequence_length,
                tflite_evaluation=channel.Channel(type=standard_artifacts.ModelEvaluation),
            )
        )
