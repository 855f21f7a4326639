"""Pairs of rows of equal length from tokenized preferences, and batches of pairs."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from modules.tokenization.example_tokens import TOKEN_COLUMNS
from modules.training.packing import shift_targets
from modules.training.stored_rows import StoredRows, store_rows

COLUMNS = TOKEN_COLUMNS["preference"]


def store_pairs(
    documents: tf.data.Dataset, *, longest: int, end_of_text_id: int, split: str, at_most: int | None = None
) -> StoredRows:
    """Reads and stores the pairs of a split, without the pairs that are too long.

    A long pair is not cut: a cut pair would express another preference. `<|endoftext|>` comes before each prompt and
    ends each answer, as in packed windows. It also pads all rows to the length of the longest row that is kept. With
    `end_of_text_id = 1`:

    ```
    token_ids = [[5, 6, 7]], rejected_token_ids = [[5, 9]]        token_ids = [[1, 5, 6, 7, 1], [1, 5, 9, 1, 1]]
    loss_mask = [[0, 1, 1]], rejected_loss_mask = [[0, 1]]        loss_mask = [[0, 0, 1, 1, 1], [0, 0, 1, 1, 0]]
    ```

    Args:
        documents: Batches of `COLUMNS`, each ragged int64 `[documents, tokens]`; they are read twice.
        longest: Largest number of tokens in a row, including both `<|endoftext|>`.
        end_of_text_id: Id of `<|endoftext|>`.
        split: Name of the split, for the log.
        at_most: Number of pairs to keep; None: all.

    Returns:
        The columns `token_ids` and `loss_mask`, each int32 `[pairs, 2, length]`; the chosen answer comes first.
    """
    lengths = np.array(list(documents.map(_lengths).unbatch().as_numpy_iterator()), np.int64)
    fitting = lengths[lengths <= longest]
    if len(fitting) < len(lengths):
        logging.warning(
            "%d of %d pairs of %s are longer than %d tokens (`model.context_length` + 1) and are left out.",
            len(lengths) - len(fitting), len(lengths), split, longest,
        )  # fmt: skip
    length = int(fitting.max(initial=2))

    def pad(columns: Mapping[str, tf.RaggedTensor]) -> dict[str, tf.Tensor]:
        fits = _lengths(columns) <= length
        ids, mask, rejected_ids, rejected_mask = (tf.ragged.boolean_mask(columns[name], fits) for name in COLUMNS)
        end = end_of_text_id
        return {
            "token_ids": tf.stack(
                [_row(row, first=end, last=end, padding=end, length=length) for row in (ids, rejected_ids)], axis=1
            ),
            "loss_mask": tf.stack(
                [_row(row, first=0, last=1, padding=0, length=length) for row in (mask, rejected_mask)], axis=1
            ),
        }

    pairs = documents.map(pad).unbatch()
    return store_rows(pairs if at_most is None else pairs.take(at_most))


def to_batch(pairs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Turns pairs into a batch for the objective `DirectPreferenceOptimization`.

    Args:
        pairs: `token_ids` and `loss_mask`, int32 `[pairs, 2, time + 1]`, and more columns, which are not changed.

    Returns:
        Columns of shape `[pairs, 2, time]`: the inputs `token_ids`, int32; `targets`, int32; and `weights`, float32: 1
        for a target that counts and 0 for the rest. The unchanged columns of `pairs` come before these.
    """
    inputs, targets = shift_targets(pairs["token_ids"])
    unchanged = {name: column for name, column in pairs.items() if name not in ("token_ids", "loss_mask")}
    # The unchanged columns come first: the trainer measures a batch by its first column, and this loss is a mean over
    # pairs, not over tokens.
    return {
        **unchanged,
        "token_ids": inputs,
        "targets": targets,
        "weights": tf.cast(shift_targets(pairs["loss_mask"])[1], tf.float32),
    }


def mean_tokens(pairs: StoredRows) -> int:
    """Returns the average number of targets in both rows of a pair, without padding; there must be a pair."""
    mask = pairs.columns["loss_mask"]
    # The last target that counts is the end of the answer; padding follows it.
    targets = mask.shape[-1] - 1 - np.argmax(mask[..., ::-1], axis=-1)
    return round(targets.sum(axis=-1).mean())


def _lengths(columns: Mapping[str, tf.RaggedTensor]) -> tf.Tensor:
    """Returns the length of the longer row of each pair with both `<|endoftext|>`: int64 `[documents]`."""
    return tf.maximum(columns["token_ids"].row_lengths(), columns["rejected_token_ids"].row_lengths()) + 2


def _row(values: tf.RaggedTensor, *, first: int, last: int, padding: int, length: int) -> tf.Tensor:
    """Adds the first and the last value to each row, and pads the rows to one length.

    Args:
        values: Ragged `[documents, tokens]`, at most `length - 2` tokens per row.
        first, last: Values before and after each row.
        padding: Value that fills the rest of a row.
        length: Length of the padded rows.

    Returns:
        int32 `[documents, length]`.
    """
    before, after = (tf.fill([values.nrows(), 1], tf.constant(value, values.dtype)) for value in (first, last))
    row = tf.concat([before, values, after], axis=1).to_tensor(padding, shape=[None, length])
    return tf.ensure_shape(tf.cast(row, tf.int32), [None, length])
