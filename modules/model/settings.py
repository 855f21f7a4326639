"""Settings of the model: the source of its weights and sizes, and LoRA's changes. Does not import TensorFlow."""

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from modules.common.settings import Settings
from modules.model import presets

SizeName = Literal["tiny", "small", "medium", "large"]
Target = Literal["query", "key", "value", "attention_output", "feedforward_intermediate", "feedforward_output"]
Quantization = Literal["int8", "int4"]

# The positions of the published GPT-2 models.
LARGEST_CONTEXT = 1024


class Sizes(NamedTuple):
    """Sizes of a GPT-2, except the sizes of its vocabulary and its context."""

    num_layers: int
    num_heads: int
    hidden_dim: int
    intermediate_dim: int


# From table 2 of "Language Models are Unsupervised Multitask Learners" (2019), by the published names of the models.
# `tiny` is a smaller size of this project. A head has 64 dimensions in all of them.
NAMED_SIZES: dict[SizeName, Sizes] = {
    "tiny": Sizes(4, 4, 256, 4 * 256),
    "small": Sizes(12, 12, 768, 4 * 768),
    "medium": Sizes(24, 16, 1024, 4 * 1024),
    "large": Sizes(36, 20, 1280, 4 * 1280),
}


class ModelSettings(Settings):
    """Settings of a GPT-2: from a preset, or of a given size with random weights."""

    preset: str | None = Field(
        None,
        description="Name (gpt2_base_en) or folder of a keras-hub GPT-2 preset, or the folder of a Hugging Face GPT-2: "
        "config.json and model.safetensors.",
    )
    size: SizeName | None = Field(
        None, description="Random weights in one of GPT-2's sizes (`small` is 12 × 768), or in `tiny`, 4 × 256."
    )
    num_layers: PositiveInt | None = Field(
        None, description="Random weights in sizes of your own: the number of transformer blocks."
    )
    num_heads: PositiveInt | None = Field(None, description="Attention heads per block; divides `hidden_dim`.")
    hidden_dim: PositiveInt | None = Field(None, description="Width of the token embedding and of every block.")
    intermediate_dim: PositiveInt | None = Field(
        None, description="Width of the feed-forward layers; default: 4 × `hidden_dim`."
    )
    warm_start: bool = Field(
        False,
        description="Start from the pipeline's latest blessed model, which must have the same tokenizer and sizes. "
        "The first run, without such a model, starts by the other settings.",
    )
    context_length: Annotated[int, Field(ge=2, le=LARGEST_CONTEXT)] = Field(
        128, description="Tokens in a training window, in an evaluation window and in the exported KV cache."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Dropout rate in training. Above 0, Keras' own layers compute the blocks, which is slower.",
    )

    @model_validator(mode="after")
    def _has_exactly_one_start(self) -> Self:
        sizes = {"num_layers": self.num_layers, "num_heads": self.num_heads, "hidden_dim": self.hidden_dim}
        given = [name for name, value in sizes.items() if value is not None]
        if self.intermediate_dim is not None:
            given.append("intermediate_dim")
        if self.preset is not None and (given or self.size):
            raise ValueError(f"a preset brings its own sizes: remove `preset` or {['size'] if self.size else given}")
        if self.size is not None and given:
            raise ValueError(f"`size: {self.size}` already sets all sizes: remove `size` or {given}")
        if self.preset is None and self.size is None:
            missing = sorted(set(sizes) - set(given))
            if missing:
                raise ValueError(
                    f"without a `preset` the sizes are needed: add {', '.join(missing)}, or for example `size: small`"
                )
            if self.hidden_dim and self.num_heads and self.hidden_dim % self.num_heads:
                raise ValueError(
                    f"`hidden_dim` must be divisible by `num_heads`. Received: {self.hidden_dim} and {self.num_heads}"
                )
        return self

    @property
    def sizes(self) -> Sizes | None:
        """Sizes from `size` or from the single numbers; None if a preset has them."""
        if self.size is not None:
            return NAMED_SIZES[self.size]
        if self.num_layers is None or self.num_heads is None or self.hidden_dim is None:
            return None
        return Sizes(self.num_layers, self.num_heads, self.hidden_dim, self.intermediate_dim or 4 * self.hidden_dim)

    def largest_context(self) -> int:
        """Returns the largest context length that the model can have; with a warm start, only the set one is sure.

        Raises:
            InputError: `presets.read_sizes` cannot read the preset.
        """
        if self.warm_start:
            return self.context_length
        sizes = presets.read_sizes(self.preset) if self.preset else None
        return min(sizes.positions, LARGEST_CONTEXT) if sizes else LARGEST_CONTEXT

    def fingerprint(self) -> str:
        """Returns the hash of the preset, including the files of a folder; "" without a preset.

        Raises:
            InputError: `presets.check_name` refuses the preset.
        """
        return presets.preset_fingerprint(self.preset, "model.preset") if self.preset else ""


class LoraSettings(Settings):
    """Settings of LoRA: trains low-rank changes of some matrices instead of the whole model (arXiv:2106.09685)."""

    rank: PositiveInt = Field(8, description="Rank of the factors A and B of each change.")
    alpha: PositiveFloat = Field(16, description="Scale of the changes: each change is alpha / rank × A B.")
    targets: tuple[Target, ...] = Field(
        ("query", "value"), min_length=1, description="The matrices that are changed in every layer."
    )
    quantization: Quantization | None = Field(
        None,
        description="QLoRA (arXiv:2305.14314): the frozen matrices of all layers are stored as int8, or as int4 in "
        "blocks of 128. The released float32 model consists of these rounded matrices plus the changes. Needs "
        "`precision: float32` or `mixed_bfloat16`.",
    )

    @field_validator("targets")
    @classmethod
    def _has_no_target_twice(cls, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        if len(set(targets)) < len(targets):
            raise ValueError(f"`targets` must name each matrix once. Received: {', '.join(targets)}.")
        return targets
