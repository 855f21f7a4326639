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


def language_model(backbone: keras_hub.models.GPT2Backbone, *, isolate_documents: bool = False) -> keras.Model:
    """Puts GPT-2's head, the transposed token embedding, on a backbone, with which it shares all weights.

    Args:
        backbone: The transformer.
        isolate_documents: Whether tokens attend only to tokens of their own document, whose positions start at 0:
            what a window holds of a document then gets the logits it would get alone.

    Returns:
        A model from `{"token_ids", "padding_mask"}`, int32 `[batch, time]` each, to logits `[batch, time, vocabulary]`.
        With isolation its inputs are `{"token_ids", "document_index"}`: an index is equal for tokens of one document.
    """
    if not isolate_documents:
        logits = backbone.token_embedding(backbone.output, reverse=True)
        return keras.Model(backbone.input, logits)
    token_ids = keras.Input([None], dtype="int32", name="token_ids")
    document_index = keras.Input([None], dtype="int32", name="document_index")
    hidden = _hidden_states_of_documents(backbone, token_ids, document_index)
    logits = backbone.token_embedding(hidden, reverse=True)
    return keras.Model({"token_ids": token_ids, "document_index": document_index}, logits)


def _hidden_states_of_documents(
    backbone: keras_hub.models.GPT2Backbone, token_ids: keras.KerasTensor, document_index: keras.KerasTensor
) -> keras.KerasTensor:
    """The backbone's own layers, called as it calls them, but for mask and positions; `[batch, time, hidden_dim]`.

    ```
    document_index = [0, 0, 1]
    mask           = [[1, 0, 0], [1, 1, 0], [0, 0, 1]]   row: the token that looks, column: what it sees
    positions      = [0, 1, 0]
    ```
    """
    same_document = keras.ops.equal(document_index[:, :, None], document_index[:, None, :])
    mask = keras.ops.tril(keras.ops.cast(same_document, "int32"))
    positions = keras.ops.sum(mask, axis=-1) - 1
    tokens = backbone.token_embedding(token_ids)
    x = backbone.embeddings_add((tokens, backbone.position_embedding(tokens, positions=positions)))
    x = backbone.embeddings_dropout(x)
    for transformer_layer in backbone.transformer_layers:
        # The mask is causal already: made once, and not in each layer.
        x = transformer_layer(x, decoder_attention_mask=mask, use_causal_mask=False)
    return backbone.layer_norm(x)


def _load_preset(preset: str, *, dropout: float, dtype: str) -> keras_hub.models.GPT2Backbone:
    try:
        return keras_hub.models.GPT2Backbone.from_preset(preset, dropout=dropout, dtype=dtype)
    except (ValueError, OSError) as error:
        raise InputError(
            f"cannot load the preset {preset!r}: {error}. Name a keras-hub GPT-2 preset, e.g. gpt2_base_en "
            "(downloaded once; needs the network), or a folder that holds config.json and model.weights.h5."
        ) from error
