"""Construction of a `TextModel` from a trained backbone, and its export as a SavedModel."""

import os
import tempfile

import keras_hub
import tensorflow as tf

from modules.export.text_model import TextModel
from modules.model.cached_gpt2 import CachedGPT2
from modules.tokenization import example_tokens
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer, Detokenizer
from modules.tokenization.vocabulary_files import read_table, write_token_bytes


def build_text_model(
    backbone: keras_hub.models.GPT2Backbone,
    table_path: str,
    folder: str,
    *,
    data_kind: str = "text",
    context_length: int | None = None,
    sequence_length: int | None = None,
) -> TextModel:
    """Combines tokenizer, model and scorer into a `TextModel`, with a float32 copy of the weights.

    Args:
        backbone: The trained model, with any precision policy.
        table_path: Table of the vocabulary, a file that `vocabulary_files.write_table` wrote.
        folder: Folder for a file that the model reads. It must exist until the model is saved or no longer used.
        data_kind: Kind of the data that `evaluate` scores, one of `example_tokens.DATA_KINDS`.
        context_length: Largest number of tokens of prompt and continuation together; the backbone's
            `max_sequence_length` if None.
        sequence_length: Number of tokens in a window of `evaluate`, preferably as in the training run;
            `context_length` if None.

    Raises:
        ValueError: A length exceeds the model's context, the vocabulary has more tokens than the model, or the kind of
            data is unknown.
    """
    example_tokens.check_data_kind(data_kind)
    vocabulary = read_table(table_path)
    if vocabulary.size > backbone.vocabulary_size:
        raise ValueError(
            f"The vocabulary must fit the model's {backbone.vocabulary_size} token embeddings. "
            f"Received: {vocabulary.size} tokens in {table_path}. Use the vocabulary that the model was trained with."
        )
    model = CachedGPT2(backbone, context_length=context_length)
    token_bytes_file = os.path.join(folder, "token_bytes.txt")
    write_token_bytes(vocabulary, token_bytes_file)
    return TextModel(
        model,
        BytePairTokenizer(table_path),
        Detokenizer(token_bytes_file),
        data_kind=data_kind,
        end_of_text_id=vocabulary.end_of_text_id,
        sequence_length=sequence_length or model.context_length,
    )


def export_saved_model(
    backbone: keras_hub.models.GPT2Backbone,
    table_path: str,
    saved_model_dir: str,
    *,
    data_kind: str = "text",
    context_length: int | None = None,
    sequence_length: int | None = None,
) -> None:
    """Writes the SavedModel of a trained backbone.

    Args:
        backbone: The trained model, with any precision policy. The SavedModel computes in float32.
        table_path: Table of the vocabulary, a file that `vocabulary_files.write_table` wrote; copied into `assets/`.
        saved_model_dir: Folder to write.
        data_kind: See `build_text_model`.
        context_length: See `build_text_model`.
        sequence_length: See `build_text_model`.

    Raises:
        ValueError: See `build_text_model`.
    """
    with tempfile.TemporaryDirectory() as folder:
        text_model = build_text_model(
            backbone,
            table_path,
            folder,
            data_kind=data_kind,
            context_length=context_length,
            sequence_length=sequence_length,
        )
        signatures = {
            "serving_default": text_model.serving_default,
            "generate": text_model.generate,
            "evaluate": text_model.evaluate,
            "evaluate_strided": text_model.evaluate_strided,
            "score": text_model.score,
        }
        tf.saved_model.save(text_model, saved_model_dir, signatures=signatures)
