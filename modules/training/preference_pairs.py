"""Pairs of rows of equal length from tokenized preferences, and batches of pairs."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from modules.tokenization import context_limit
from modules.tokenization.example_tokens import TOKEN_COLUMNS
from modules.training import fitted_rows
from modules.training.packing import shift_targets
from modules.training.stored_rows import StoredRows, store_rows

COLUMNS = TOKEN_COLUMNS["preference"]


def store_pairs(
    documents: tf.data.Dataset,
    *,
    longest: int,
    end_of_text_id: int,
    split: str,
    truncate: bool = False,
    at_most: int | None = None,
) -> StoredRows:
    """Reads and stores the pairs of a split, without the pairs that are too long, or with their answers cut.

    `<|endoftext|>` comes before each prompt and ends each answer that is not cut, as in packed windows. It also pads
    all rows to the length of the longest row that is kept. With `end_of_text_id = 1`:

    ```
    token_ids = [[5, 6, 7]], rejected_token_ids = [[5, 9]]        token_ids = [[1, 5, 6, 7, 1], [1, 5, 9, 1, 1]]
    loss_mask = [[0, 1, 1]], rejected_loss_mask = [[0, 1]]        loss_mask = [[0, 0, 1, 1, 1], [0, 0, 1, 1, 0]]
    ```

    Args:
        documents: Batches of `COLUMNS`, each ragged int64 `[documents, tokens]`; they are read twice.
        longest: Largest number of tokens in a row, including both `<|endoftext|>`.
        end_of_text_id: Id of `<|endoftext|>`.
        split: Name of the split, for the log.
        truncate: Whether to cut answers instead of leaving their pairs out, see `context_limit.fit`.
        at_most: Number of pairs to keep; None: all.

    Returns:
        The columns `token_ids` and `loss_mask`, each int32 `[pairs, 2, length]`; the chosen answer comes first.
    """
    rows = fitted_rows.measure_rows(documents)
    fit = context_limit.fit(rows, context_length=longest - 1, truncate=truncate)
    if not fit.kept.all():
        logging.warning(
            "%d of %d pairs of %s are longer than %d tokens (`model.context_length` + 1) and are left out.",
            np.sum(~fit.kept), len(fit.kept), split, longest,
        )  # fmt: skip
    length = int((1 + fit.lengths + fit.ended)[fit.kept].max(initial=2))

    def pad(columns: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        ids, mask, rejected_ids, rejected_mask = (columns[name] for name in COLUMNS)
        ended = columns.get(fitted_rows.ENDED, tf.ones([ids.nrows(), 2], tf.int64))
        end = end_of_text_id
        return {
            "token_ids": tf.stack(
                [
                    _row(answer, first=end, last=end, ended=ended[:, number], padding=end, length=length)
                    for number, answer in enumerate((ids, rejected_ids))
                ],
                axis=1,
            ),
            "loss_mask": tf.stack(
                [
                    _row(answer, first=0, last=1, ended=ended[:, number], padding=0, length=length)
                    for number, answer in enumerate((mask, rejected_mask))
                ],
                axis=1,
            ),
        }

    pairs = fitted_rows.fitted(documents, fit, context_length=longest - 1).map(pad).unbatch()
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


def _row(values: tf.RaggedTensor, *, first: int, last: int, ended: tf.Tensor, padding: int, length: int) -> tf.Tensor:
    """Adds the first value to each row and the last value to each row that ends, and pads the rows to one length.

    Args:
        values: Ragged `[documents, tokens]`.
        first, last: Values before and after each row.
        ended: int64 `[documents]`, 1 for rows that get the last value, else 0.
        padding: Value that fills the rest of a row.
        length: Length of the padded rows.

    Returns:
        int32 `[documents, length]`.
    """
    before = tf.fill([values.nrows(), 1], tf.constant(first, values.dtype))
    ends = tf.fill([tf.reduce_sum(ended)], tf.constant(last, values.dtype))
    after = tf.RaggedTensor.from_row_lengths(ends, ended)
    row = tf.concat([before, values, after], axis=1).to_tensor(padding, shape=[None, length])
    return tf.ensure_shape(tf.cast(row, tf.int32), [None, length])
