"""LoRA's settings, without TensorFlow."""

from typing import Literal

import pydantic
from pydantic import Field, PositiveFloat, PositiveInt

from modules.common.settings import Settings

Target = Literal["query", "key", "value", "attention_output", "feedforward_intermediate", "feedforward_output"]
Quantization = Literal["int8", "int4"]


class LoraSettings(Settings):
    """Train low-rank changes of some matrices instead of the whole model (arXiv:2106.09685)."""

    rank: PositiveInt = Field(8, description="Rank of the factors A and B of each change.")
    alpha: PositiveFloat = Field(16, description="Each change is alpha / rank × A B.")
    targets: tuple[Target, ...] = Field(
        ("query", "value"), min_length=1, description="The matrices of every layer that are changed."
    )
    quantization: Quantization | None = Field(
        None,
        description="QLoRA (arXiv:2305.14314): the frozen matrices of all layers are stored as int8, or as int4 in "
        "blocks of 128. The released float32 model consists of these rounded matrices plus the changes. Needs "
        "`precision: float32` or `mixed_bfloat16`.",
    )

    @pydantic.field_validator("targets")
    @classmethod
    def _no_target_twice(cls, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        if len(set(targets)) < len(targets):
            raise ValueError(f"`targets` must name each matrix once. Received: {', '.join(targets)}.")
        return targets
