"""TFLiteConverter: converts a trained GPT-2 to two TFLite files, float16 and int8."""

import json
from collections.abc import Sequence

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.tflite_converter import executor
from modules.export import tflite_conversion


class TFLiteConverterSpec(component_spec.ComponentSpec):
    """Interface of TFLiteConverter."""

    PARAMETERS = {
        "context_length": component_spec.ExecutionParameter(type=int),
        "prefill_lengths": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}
    OUTPUTS = {
        "model_fp16": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_int8": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }


class TFLiteConverter(base_component.BaseComponent):
    """Converter that writes `Format-TFLite/model.tflite` to each output, with signatures `decode` and `prefill_<N>`.

    The outputs' custom properties are `precision`, `size_bytes`, `sha256` and `metadata_embedded` (1 or 0).
    """

    SPEC_CLASS = TFLiteConverterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: channel.BaseChannel,
        context_length: int,
        prefill_lengths: Sequence[int] = tflite_conversion.DEFAULT_PREFILL_LENGTHS,
    ):
        """Wires the component.

        Args:
            model: Output of the Trainer, with the preset in `preset/` and the SavedModel in `Format-Serving/`.
            context_length: Maximum number of tokens of prompt and continuation together.
            prefill_lengths: Numbers of prompt tokens that one call of a `prefill` signature processes.
        """
        super().__init__(
            TFLiteConverterSpec(
                model=model,
                context_length=context_length,
                prefill_lengths=json.dumps(list(prefill_lengths)),
                model_fp16=channel.Channel(type=standard_artifacts.Model),
                model_int8=channel.Channel(type=standard_artifacts.Model),
            )
        )
