"""Builders of keras-hub GPT-2 models: from a preset, from an earlier run, or from sizes with random weights."""

import os
import tempfile
from typing import Any

import keras
import keras_hub

from modules.common.errors import InputError
from modules.common.files import local_copy
from modules.model import huggingface, presets
from modules.model.settings import ModelSettings

WARM_START_CURE = "Start without it (`model.warm_start: false`), or keep what it was trained with."


def build_backbone(settings: ModelSettings, *, vocabulary_size: int, dtype: str) -> keras_hub.models.GPT2Backbone:
    """Builds the transformer without its language-model head.

    Args:
        settings: Preset or sizes.
        vocabulary_size: Number of the tokenizer's tokens; a preset must have the same number.
        dtype: Keras precision policy, e.g. `"mixed_bfloat16"`. Variables are float32 under every policy.

    Raises:
        InputError: The preset cannot be loaded, or it does not fit the tokenizer or the context length.
    """
    if settings.sizes is not None:
        return keras_hub.models.GPT2Backbone(
            vocabulary_size=vocabulary_size,
            **settings.sizes._asdict(),
            dropout=settings.dropout,
            max_sequence_length=settings.context_length,
            dtype=dtype,
        )
    assert settings.preset is not None  # the settings refuse incomplete sizes
    backbone = _load_preset(settings.preset, dropout=settings.dropout, dtype=dtype)
    if backbone.vocabulary_size != vocabulary_size:
        raise InputError(
            f"the tokenizer must have as many tokens as the preset {settings.preset}, {backbone.vocabulary_size}. "
            f"Received: {vocabulary_size}. Use the preset's own: `tokenizer: {{preset: {settings.preset}}}`."
        )
    _check_positions(backbone, settings.context_length, of=settings.preset)
    return backbone


def load_trained(model_dir: str, settings: ModelSettings, *, dtype: str) -> keras_hub.models.GPT2Backbone:
    """Loads a model of an earlier run in order to train it further: a warm start.

    This function does not check the vocabulary; `modules.training.run_fn.check_same_vocabulary` does.

    Args:
        model_dir: The folder of TFX's Model artifact, with `preset/` and `Format-Serving/`.
        settings: Settings of this run. Sizes must equal the trained model's; the sizes of a `preset` are not compared.
            Dropout and context length are taken from these settings.
        dtype: Keras precision policy.

    Raises:
        InputError: The model cannot be loaded, its sizes differ, or it has fewer positions than the context length.
    """
    with tempfile.TemporaryDirectory() as folder:
        preset = local_copy(os.path.join(model_dir, "preset"), folder)
        backbone = _load_preset(preset, dropout=settings.dropout, dtype=dtype)
    if settings.sizes is not None:
        for name, size in settings.sizes._asdict().items():
            trained = getattr(backbone, name)
            if trained != size:
                raise InputError(
                    f"a warm start needs the sizes of the model in {model_dir}: `{name}` must be {trained}. "
                    f"Received: {size}. {WARM_START_CURE}"
                )
    _check_positions(backbone, settings.context_length, of=f"the model in {model_dir}")
    return backbone


def _check_positions(backbone: keras_hub.models.GPT2Backbone, context_length: int, *, of: str) -> None:
    if backbone.max_sequence_length < context_length:
        raise InputError(
            f"`model.context_length` must be at most {backbone.max_sequence_length}, the positions of {of}. "
            f"Received: {context_length}."
        )


def language_model(backbone: keras_hub.models.GPT2Backbone, *, isolate_documents: bool = False) -> keras.Model:
    """Adds GPT-2's head, the transposed token embedding, to a backbone; the result shares all weights with it.

    Args:
        backbone: The transformer.
        isolate_documents: If True, tokens attend only to tokens of their own document, and positions start at 0 in each
            document. A document in a window then gets the same logits as in a window of its own.

    Returns:
        A model from `{"token_ids", "padding_mask"}`, int32 `[batch, time]` each, to logits `[batch, time, vocabulary]`.
        With isolation its inputs are `{"token_ids", "document_index"}`; tokens of one document have the same index.
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
    """Calls the backbone's layers with a mask and positions per document; returns `[batch, time, hidden_dim]`.

    ```
    document_index = [0, 0, 1]
    same_document  = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]   row: the token that attends, column: the token attended to
    positions      = [0, 1, 0]
    ```
    """
    same_document = keras.ops.equal(document_index[:, :, None], document_index[:, None, :])
    positions = keras.ops.sum(keras.ops.tril(keras.ops.cast(same_document, "int32")), axis=-1) - 1
    tokens = backbone.token_embedding(token_ids)
    x = backbone.embeddings_add((tokens, backbone.position_embedding(tokens, positions=positions)))
    x = backbone.embeddings_dropout(x)
    for transformer_layer in backbone.transformer_layers:
        x = transformer_layer(x, decoder_attention_mask=same_document)
    return backbone.layer_norm(x)


def _load_preset(preset: str, *, dropout: float, dtype: str) -> keras_hub.models.GPT2Backbone:
    sizes: dict[str, Any] = {}
    if huggingface.is_folder(preset):
        # keras-hub's own converter assumes that every feed-forward layer is 4 × as wide as the model.
        sizes["intermediate_dim"] = huggingface.check_folder(preset).intermediate_dim
    presets.check_classes(preset)
    try:
        return keras_hub.models.GPT2Backbone.from_preset(preset, dropout=dropout, dtype=dtype, **sizes)
    except (ValueError, OSError) as error:
        raise InputError(
            f"cannot load the preset {preset!r}: {error}. Name a keras-hub GPT-2 preset, e.g. gpt2_base_en "
            "(downloaded once; needs the network), a folder with config.json and model.weights.h5, or a "
            "folder with Hugging Face's config.json and model.safetensors."
        ) from error
