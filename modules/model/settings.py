"""Settings of the model: where its weights and sizes come from, and LoRA's changes to them; without TensorFlow."""

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from modules.common.settings import Settings
from modules.model import presets

SizeName = Literal["tiny", "small", "medium", "large"]
Target = Literal["query", "key", "value", "attention_output", "feedforward_intermediate", "feedforward_output"]
Quantization = Literal["int8", "int4"]


class Sizes(NamedTuple):
    """The numbers that a GPT-2 is built from, apart from its vocabulary and its context."""

    num_layers: int
    num_heads: int
    hidden_dim: int
    intermediate_dim: int


# Table 2 of "Language Models are Unsupervised Multitask Learners" (2019), by the names its models were published under;
# `tiny` continues them downwards: as in all of them a head has 64 dimensions.
NAMED_SIZES: dict[SizeName, Sizes] = {
    "tiny": Sizes(4, 4, 256, 4 * 256),
    "small": Sizes(12, 12, 768, 4 * 768),
    "medium": Sizes(24, 16, 1024, 4 * 1024),
    "large": Sizes(36, 20, 1280, 4 * 1280),
}


class ModelSettings(Settings):
    """A GPT-2: from a preset, or of a size with a random start."""

    preset: str | None = Field(
        None,
        description="Name (gpt2_base_en) or folder of a keras-hub GPT-2 preset, or the folder of a Hugging Face GPT-2: "
        "config.json and model.safetensors.",
    )
    size: SizeName | None = Field(
        None, description="Random weights in a size of GPT-2's family (small is 12 × 768), or in `tiny`, 4 × 256."
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
        "While there is none, the other settings decide.",
    )
    context_length: Annotated[int, Field(ge=2, le=1024)] = Field(
        128, description="Tokens in a training window, in an evaluation window and in the exported KV cache."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Dropout rate in training; above 0, Keras' own slower layers compute the blocks."
    )

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        sizes = {"num_layers": self.num_layers, "num_heads": self.num_heads, "hidden_dim": self.hidden_dim}
        given = [name for name, value in sizes.items() if value is not None]
        if self.intermediate_dim is not None:
            given.append("intermediate_dim")
        if self.preset is not None and (given or self.size):
            raise ValueError(f"a preset brings its own sizes: drop `preset` or {['size'] if self.size else given}")
        if self.size is not None and given:
            raise ValueError(f"`size: {self.size}` says it all: drop `size` or {given}")
        if self.preset is None and self.size is None:
            missing = sorted(set(sizes) - set(given))
            if missing:
                raise ValueError(
                    f"without a `preset` the sizes are needed: add {', '.join(missing)}, or `size: small`, say"
                )
            if self.hidden_dim and self.num_heads and self.hidden_dim % self.num_heads:
                raise ValueError(
                    f"`hidden_dim` must be divisible by `num_heads`. Received: {self.hidden_dim} and {self.num_heads}"
                )
        return self

    @property
    def sizes(self) -> Sizes | None:
        """The named size's or the given numbers; None where a preset brings them."""
        if self.size is not None:
            return NAMED_SIZES[self.size]
        if self.num_layers is None or self.num_heads is None or self.hidden_dim is None:
            return None
        return Sizes(self.num_layers, self.num_heads, self.hidden_dim, self.intermediate_dim or 4 * self.hidden_dim)

    def fingerprint(self) -> str:
        """Returns the hash of the preset, with its files where it is a folder; "" without one.

        Raises:
            InputError: `presets.check_name` refuses the preset.
        """
        return presets.preset_fingerprint(self.preset, "model.preset") if self.preset else ""


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

    @field_validator("targets")
    @classmethod
    def _no_target_twice(cls, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        if len(set(targets)) < len(targets):
            raise ValueError(f"`targets` must name each matrix once. Received: {', '.join(targets)}.")
        return targets
