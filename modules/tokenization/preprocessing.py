"""The `preprocessing_fn` of Transform: texts become token ids, one row per document."""

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import tensorflow as tf
import tensorflow_transform as tft

from modules.common.errors import InputError
from modules.data.examples import WEIGHT
from modules.tokenization import example_tokens
from modules.tokenization.bpe_training import BytePairAnalyzer
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer, split_words
from modules.tokenization.tokenizer_files import load_vocabulary
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import TABLE_NAME, table_text, write_table

Column: TypeAlias = tf.Tensor | tf.SparseTensor | tf.RaggedTensor
# A function that encodes texts, string `[texts]`, as ragged int64 `[texts, tokens]`.
Encode: TypeAlias = Callable[[BytePairTokenizer, tf.Tensor], tf.RaggedTensor]


def preprocessing_fn(inputs: Mapping[str, Column], custom_config: Mapping[str, Any]) -> dict[str, Column]:
    """Tokenizes the examples as `modules.tokenization.example_tokens` defines. TFX Transform calls it.

    The vocabulary becomes the asset `vocabulary.tsv` of the transform graph (see `vocabulary.find_table`).

    Args:
        inputs: String columns: dense, sparse or ragged. `source` and, for texts, `text` have one value per row; a row
            without a value counts as empty. Instructions have `prompt` and `completion`, with one value per turn of
            the conversation. Preferences have `prompt`, `chosen` and `rejected`, also with one value per turn. Both
            may have `weight`, see `example_tokens.turn_weights`.
        custom_config: `custom_config["data_kind"]` is one of `example_tokens.DATA_KINDS`.
            `custom_config["tokenizer"]` is either `{"vocabulary_size": N}`, to learn a vocabulary from the texts, or
            the argument of `tokenizer_files.load_vocabulary`, to load an existing vocabulary.

    Returns:
        A dictionary of columns:
            `token_ids`: Ragged int64 `[batch, tokens]`, without the last <|endoftext|>.
            `loss_mask`: The same shape and type, 1 where a token counts in the loss; not for texts.
            `rejected_token_ids`, `rejected_loss_mask`: Only for preferences, the same for the rejected answers. The
                other columns are those of the chosen answers.
            `source`: string `[batch]`.
            `num_tokens`, `tokens_per_byte`: int64 and float32 `[batch]`, for statistics.

    Raises:
        InputError: The vocabulary cannot be loaded, or is too small.
    """
    example_tokens.check_data_kind(custom_config["data_kind"])
    source = one_value_per_row(inputs["source"])
    if custom_config["data_kind"] == "text":
        texts = one_value_per_row(inputs["text"])
        token_ids = _tokenize(texts, custom_config["tokenizer"], BytePairTokenizer.tokenize)
        statistics = _token_statistics(token_ids, tf.strings.length(texts))
        return {"token_ids": token_ids, "source": source, **statistics}

    def tokenize(texts: tf.Tensor) -> tf.RaggedTensor:
        return _tokenize(texts, custom_config["tokenizer"], example_tokens.tokenize_and_end)

    has_weights = WEIGHT in inputs
    weight_column = values_per_row(inputs[WEIGHT]) if has_weights else None
    rejected = {}
    if custom_config["data_kind"] == "instruction":
        prompts, completions = (values_per_row(inputs[name]) for name in ("prompt", "completion"))
        weights = example_tokens.turn_weights(weight_column, completions)
        token_ids, loss_mask = example_tokens.conversation_tokens(prompts, completions, tokenize, weights)
    else:
        prompts, completions, worse = (values_per_row(inputs[name]) for name in ("prompt", "chosen", "rejected"))
        weights = example_tokens.turn_weights(weight_column, completions)
        (token_ids, loss_mask), (rejected_ids, rejected_mask) = example_tokens.preference_tokens(
            prompts, completions, worse, tokenize, weights
        )
        rejected = {"rejected_token_ids": rejected_ids, "rejected_loss_mask": rejected_mask}
    statistics = _token_statistics(token_ids, _bytes_per_row(prompts) + _bytes_per_row(completions))
    return {"token_ids": token_ids, "loss_mask": loss_mask, **rejected, "source": source, **statistics}


def _token_statistics(token_ids: tf.RaggedTensor, size_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns columns of one number per row for StatisticsGen; a row without bytes has 0 tokens per byte."""
    num_tokens = token_ids.row_lengths()
    tokens_per_byte = tf.math.divide_no_nan(tf.cast(num_tokens, tf.float32), tf.cast(size_bytes, tf.float32))
    return {"num_tokens": num_tokens, "tokens_per_byte": tokens_per_byte}


def _bytes_per_row(texts: tf.RaggedTensor) -> tf.Tensor:
    return tf.reduce_sum(tf.ragged.map_flat_values(tf.strings.length, texts), axis=1)


def one_value_per_row(column: Column) -> tf.Tensor:
    """Converts a string column to string `[batch]`; a row without a value becomes "".

    Raises:
        tf.errors.InvalidArgumentError: A row has more than one value. It is raised when the graph runs.
    """
    if isinstance(column, tf.RaggedTensor):
        column = column.to_sparse()
    if isinstance(column, tf.SparseTensor):
        column = tft.sparse_tensor_to_dense_with_shape(column, [None, 1], default_value="")
    if column.shape.rank == 2:
        tf.debugging.assert_equal(column.shape[1], 1, "A text column must have one value per row.")
    return tf.reshape(column, [-1])


def values_per_row(column: Column) -> tf.RaggedTensor:
    """Converts a sparse, ragged or dense (`[batch]`, `[batch, values]`) column to ragged string `[batch, values]`."""
    if isinstance(column, tf.SparseTensor):
        return tf.RaggedTensor.from_sparse(column)
    if isinstance(column, tf.RaggedTensor):
        return column.with_row_splits_dtype(tf.int64)
    return tf.RaggedTensor.from_tensor(column if column.shape.rank == 2 else column[:, tf.newaxis])


def _tokenize(texts: tf.Tensor, config: Mapping[str, Any], encode: Encode) -> tf.RaggedTensor:
    if set(config) == {"vocabulary_size"}:
        path = _train_vocabulary(texts, config["vocabulary_size"])
        # A direct call of `_tokenize_with_table(texts, path)` would make the table within the graph and read the file
        # again for every batch: only a `lookup_fn` gets the path of the file from Transform.
        lookup_fn = functools.partial(_tokenize_with_table, encode=encode)
        return tft.apply_vocabulary(texts, path, default_value=0, lookup_fn=lookup_fn)
    return _tokenize_with_table(texts, _existing_table(tuple(sorted(config.items()))), encode=encode)[0]


@functools.cache
def _existing_table(config: tuple[tuple[str, str], ...]) -> str:
    """Writes the table of an existing vocabulary once: Transform traces often, and copies the asset later."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    table = os.path.join(folder, TABLE_NAME)
    write_table(load_vocabulary(dict(config)), table)
    return table


def _tokenize_with_table(
    texts: tf.Tensor, path: str | tf.Tensor, *, encode: Encode
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Returns ragged token ids int64 `[batch, tokens]`, and the vocabulary's size as a scalar.

    Args:
        texts: string `[batch]`.
        path: The vocabulary's table.
        encode: Applies the tokenizer to the texts.
    """
    if isinstance(path, tf.Tensor) and tf.is_symbolic_tensor(path):
        tokenizer = BytePairTokenizer(path)  # Transform only traces to find the columns in use; no file exists yet
    else:
        # Created outside of Transform's graph and tracked, so that the file is copied to the assets.
        tokenizer = tft.make_and_track_object(lambda: BytePairTokenizer(path))
    token_ids = tf.concat(_of_halves(functools.partial(encode, tokenizer), texts), axis=0)
    return token_ids, tokenizer.size()


def _of_halves(function: Callable[[tf.Tensor], Any], texts: tf.Tensor) -> tuple[Any, Any]:
    """Returns the results of a function for both halves of a batch.

    Within a graph TensorFlow computes them at the same time, on two cores: Beam hands over one batch at a time. The
    function is traced once.
    """
    half = tf.size(texts) // 2
    traced = tf.function(function, autograph=False)
    return traced(texts[:half]), traced(texts[half:])


def _count_words(texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the distinct words, string `[words]`, and their numbers of occurrences, int64 `[words]`."""
    words, _, counts = tf.unique_with_counts(split_words(texts).values, tf.int64)
    return words, counts


def _train_vocabulary(texts: tf.Tensor, vocabulary_size: int) -> tf.Tensor:
    """Learns a vocabulary; returns the table's path, a string tensor whose value is known after the analysis."""
    if vocabulary_size < 257:
        raise InputError(
            "`vocabulary_size` must be 257 (256 bytes and <|endoftext|>) or more. "
            f"Received: {vocabulary_size}. Try 4096."
        )
    words, counts = zip(*_of_halves(_count_words, texts), strict=True)
    (path,) = tft.experimental.ptransform_analyzer(
        inputs=[tf.concat(words, 0), tf.concat(counts, 0)],
        ptransform=BytePairAnalyzer(vocabulary_size),
        output_dtypes=[tf.string],
        output_shapes=[[]],
        output_asset_default_values=[table_text(Vocabulary.from_merges([])).encode()],
        name="vocabulary",
    )
    return path
