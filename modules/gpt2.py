"""Builds keras-hub GPT-2 models: from a preset, or from sizes with a random start."""

import dataclasses

import keras
import keras_hub

from modules.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What `build_backbone` needs; the fields of the configuration's `model`.

    Attributes:
        preset: Name or folder of a keras-hub GPT-2 preset, or None to start from the sizes below.
        num_layers: Transformer blocks.
        num_heads: Attention heads; divides `hidden_dim`.
        hidden_dim: Width of the residual stream.
        intermediate_dim: Width of the feed-forward layer; None: 4 × `hidden_dim`.
        context_length: Tokens in a window.
        dropout: Share of activations dropped in training.
    """

    preset: str | None
    num_layers: int | None
    num_heads: int | None
    hidden_dim: int | None
    intermediate_dim: int | None
    context_length: int
    dropout: float


def build_backbone(settings: ModelSettings, *, vocabulary_size: int, dtype: str) -> keras_hub.models.GPT2Backbone:
    """Builds the transformer without its language-model head.

    Args:
        settings: Preset or sizes.
        vocabulary_size: Tokens of the tokenizer; a preset must have the same.
        dtype: Keras precision policy, e.g. `"mixed_bfloat16"`. Variables are float32 in each of them.

    Raises:
        InputError: If the preset cannot be loaded, or does not fit the tokenizer or the context length.
    """
    if settings.preset is None:
        assert settings.hidden_dim is not None  # the configuration refuses sizes that are not whole
        return keras_hub.models.GPT2Backbone(
            vocabulary_size=vocabulary_size,
            num_layers=settings.num_layers,
            num_heads=settings.num_heads,
            hidden_dim=settings.hidden_dim,
            intermediate_dim=settings.intermediate_dim or 4 * settings.hidden_dim,
            dropout=settings.dropout,
            max_sequence_length=settings.context_length,
            dtype=dtype,
        )
    backbone = _load_preset(settings.preset, dropout=settings.dropout, dtype=dtype)
    if backbone.vocabulary_size != vocabulary_size:
        raise InputError(
            f"the preset {settings.preset} has {backbone.vocabulary_size} tokens and the tokenizer "
            f"{vocabulary_size}; use the preset's own: `tokenizer: {{preset: {settings.preset}}}`."
        )
    if backbone.max_sequence_length < settings.context_length:
        raise InputError(
            f"`model.context_length` must be at most {backbone.max_sequence_length}, the positions of "
            f"{settings.preset}. Received: {settings.context_length}."
        )
    return backbone


def language_model(backbone: keras_hub.models.GPT2Backbone) -> keras.Model:
    """Puts GPT-2's head, the transposed token embedding, on a backbone.

    Returns:
        A model from `{"token_ids", "padding_mask"}`, int32 `[batch, time]` each, to logits `[batch, time, vocabulary]`.
    """
    logits = backbone.token_embedding(backbone.output, reverse=True)
    return keras.Model(backbone.input, logits)


def _load_preset(preset: str, *, dropout: float, dtype: str) -> keras_hub.models.GPT2Backbone:
    try:
        return keras_hub.models.GPT2Backbone.from_preset(preset, dropout=dropout, dtype=dtype)
    except (ValueError, OSError) as error:
        raise InputError(
            f"cannot load the preset {preset!r}: {error}. Name a keras-hub GPT-2 preset, e.g. gpt2_base_en "
            "(downloaded once; needs the network), or a folder that holds config.json and model.weights.h5."
        ) from error
