"""From tokenized preferences to pairs of rows of one length, and batches of them."""

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
    """Reads the pairs of a split. A pair that is too long is dropped: cut, it would be another preference.

    `<|endoftext|>` stands before each prompt and ends each answer, as where documents are packed, and fills up what
    is shorter than the longest that fits. With `end_of_text_id = 1`:

    ```
    token_ids = [[5, 6, 7]], rejected_token_ids = [[5, 9]]        token_ids = [[1, 5, 6, 7, 1], [1, 5, 9, 1, 1]]
    loss_mask = [[0, 1, 1]], rejected_loss_mask = [[0, 1]]        loss_mask = [[0, 0, 1, 1, 1], [0, 0, 1, 1, 0]]
    ```

    Args:
        documents: Batches of `COLUMNS`, ragged int64 `[documents, tokens]` each; read twice.
        longest: Tokens of the longest row that fits, with both `<|endoftext|>`.
        end_of_text_id: See above.
        split: Its name, for the log.
        at_most: Pairs to keep; None: all.

    Returns:
        int32 `[pairs, 2, length]` each: `token_ids` and `loss_mask`, the chosen answer first.
    """
    lengths = np.array(list(documents.map(_lengths).unbatch().as_numpy_iterator()), np.int64)
    fitting = lengths[lengths <= longest]
    if len(fitting) < len(lengths):
        logging.warning(
            "%d of %d pairs of %s are longer than %d tokens, `model.context_length` and one, and are left out.",
            len(lengths) - len(fitting), len(lengths), split, longest,
        )  # fmt: skip
    length = int(fitting.max(initial=2))

    def pad(columns: Mapping[str, tf.RaggedTensor]) -> dict[str, tf.Tensor]:
        fits = _lengths(columns) <= length
        ids, mask, other_ids, other_mask = (tf.ragged.boolean_mask(columns[name], fits) for name in COLUMNS)
        end = end_of_text_id
        return {
            "token_ids": tf.stack(
                [_row(one, first=end, last=end, padding=end, length=length) for one in (ids, other_ids)], axis=1
            ),
            "loss_mask": tf.stack(
                [_row(one, first=0, last=1, padding=0, length=length) for one in (mask, other_mask)], axis=1
            ),
        }

    pairs = documents.map(pad).unbatch()
    return store_rows(pairs if at_most is None else pairs.take(at_most))


def to_batch(pairs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Makes of some pairs a batch of the objective `DirectPreferenceOptimization`.

    Args:
        pairs: `token_ids` and `loss_mask`, int32 `[pairs, 2, time + 1]`, and columns that stay as they are.

    Returns:
        `token_ids`, the inputs, and `targets`, int32, and `weights`, float32, 1 for a target that counts and 0 for
        others: `[pairs, 2, time]` each.
    """
    inputs, targets = shift_targets(pairs["token_ids"])
    others = {name: column for name, column in pairs.items() if name not in ("token_ids", "loss_mask")}
    # The trainer measures a batch by its first column: what a loss is a mean over are pairs, and not tokens.
    return {
        **others,
        "token_ids": inputs,
        "targets": targets,
        "weights": tf.cast(shift_targets(pairs["loss_mask"])[1], tf.float32),
    }


def mean_tokens(pairs: StoredRows) -> int:
    """Targets of both rows of a pair on average, without those that fill up; there must be pairs."""
    mask = pairs.columns["loss_mask"]
    # The last target that counts is the end of the answer.
    targets = mask.shape[-1] - 1 - np.argmax(mask[..., ::-1], axis=-1)
    return round(targets.sum(axis=-1).mean())


def _lengths(columns: Mapping[str, tf.RaggedTensor]) -> tf.Tensor:
    """Of the longer row of each pair, int64 `[documents]`, with both `<|endoftext|>`."""
    return tf.maximum(columns["token_ids"].row_lengths(), columns["rejected_token_ids"].row_lengths()) + 2


def _row(values: tf.RaggedTensor, *, first: int, last: int, padding: int, length: int) -> tf.Tensor:
    """int32 `[documents, length]` of ragged `[documents, tokens]`, of which none has more than `length - 2`."""
    before, after = (tf.fill([values.nrows(), 1], tf.constant(value, values.dtype)) for value in (first, last))
    row = tf.concat([before, values, after], axis=1).to_tensor(padding, shape=[None, length])
    return tf.ensure_shape(tf.cast(row, tf.int32), [None, length])
