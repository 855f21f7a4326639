"""LengthGate: counts the rows that are longer than the context, before anything is trained."""

from typing import Any

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.artifact_types import LengthCheck
from components.length_gate import executor
from modules.tokenization import context_limit


class LengthGateSpec(component_spec.ComponentSpec):
    """Interface of LengthGate."""

    PARAMETERS: dict[str, Any] = {
        "context_length": component_spec.ExecutionParameter(type=int),
        "largest_context": component_spec.ExecutionParameter(type=int),
        "too_long": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {"transformed_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"length_check": component_spec.ChannelParameter(type=LengthCheck)}


class LengthGate(base_component.BaseComponent):
    """Gate for rows of instructions and preferences; the Trainer drops and cuts exactly what it counts."""

    SPEC_CLASS = LengthGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        transformed_examples: channel.BaseChannel,
        context_length: int,
        largest_context: int,
        too_long: context_limit.TooLong | None,
    ):
        """Wires the component.

        Args:
            transformed_examples: Output of TextTransform, of instructions or preferences.
            context_length: Context length of the model, in tokens.
            largest_context: Largest context length that the model can have, for the message.
            too_long: The setting `data.too_long`.
        """
        super().__init__(
            LengthGateSpec(
                transformed_examples=transformed_examples,
                context_length=context_length,
                largest_context=largest_context,
                too_long=too_long or "",
                length_check=channel.Channel(type=LengthCheck),
            )
        )
