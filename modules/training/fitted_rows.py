"""Rows of instructions and preferences that fit into the context: the rest is dropped or cut."""

import tensorflow as tf

from modules.tokenization import context_limit
from modules.tokenization.context_limit import Ragged, RowLengths

# The column with 1 for each row, or each answer of a pair, that <|endoftext|> follows, and 0 for one that is cut.
ENDED = "ended"


def measure_rows(documents: tf.data.Dataset) -> RowLengths:
    """Returns the lengths of all rows, in one pass.

    Args:
        documents: Batches of the columns of instructions or preferences, see `example_tokens.TOKEN_COLUMNS`.
    """
    answers = 2 if "rejected_token_ids" in documents.element_spec else 1
    return RowLengths.joined([_measure(batch) for batch in documents], answers=answers)


def fitted(documents: tf.data.Dataset, fit: context_limit.Fit, *, context_length: int) -> tf.data.Dataset:
    """Leaves out or cuts the rows that are too long, see `context_limit.fit`; does nothing if there are none.

    With a context of 5 and `truncate`:

    ```
    token_ids = [[5, 6, 7], [5, 6, 7, 8, 9, 4, 3]]      token_ids = [[5, 6, 7], [5, 6, 7, 8, 9]]
    loss_mask = [[0, 1, 1], [0, 1, 1, 1, 1, 1, 1]]      loss_mask = [[0, 1, 1], [0, 1, 1, 1, 1]]
                                                        ended     = [[1],       [0]]
    ```

    Args:
        documents: Batches of the columns of instructions or preferences, ragged int64 `[documents, tokens]`.
        fit: What becomes of all rows, from `context_limit.fit`.
        context_length: Context length of the model, in tokens.

    Returns:
        The same columns; if rows are cut or left out, with `ENDED`, int64 `[documents, answers]`.
    """
    if fit.kept.all() and fit.ended.all():
        return documents
    # Each batch is measured again, because the order of the rows need not be the same when they are read twice.
    truncate = not fit.ended.all()

    def fit_batch(*flat: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        ragged = [Ragged(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)]
        found = context_limit.fit(context_limit.measure(*ragged), context_length=context_length, truncate=truncate)
        return found.kept, found.lengths, found.ended

    def apply(columns: dict[str, tf.RaggedTensor]) -> dict[str, tf.Tensor]:
        flat = [part for name in _measured(columns) for part in (columns[name].values, columns[name].row_splits)]
        kept, lengths, ended = tf.numpy_function(fit_batch, flat, [tf.bool, tf.int64, tf.bool])
        answers = 2 if "rejected_token_ids" in columns else 1
        kept.set_shape([None])
        lengths.set_shape([None, answers])
        rows = {
            name: tf.ragged.boolean_mask(_shortened(column, lengths[:, int(name.startswith("rejected"))]), kept)
            for name, column in columns.items()
        }
        return {**rows, ENDED: tf.ensure_shape(tf.cast(tf.boolean_mask(ended, kept), tf.int64), [None, answers])}

    return documents.map(apply)


def _measured(columns: dict[str, tf.RaggedTensor]) -> list[str]:
    return [name for name in ("token_ids", "loss_mask", "rejected_token_ids") if name in columns]


def _measure(batch: dict[str, tf.RaggedTensor]) -> RowLengths:
    columns = [Ragged(batch[name].values.numpy(), batch[name].row_splits.numpy()) for name in _measured(batch)]
    return context_limit.measure(*columns)


def _shortened(rows: tf.RaggedTensor, lengths: tf.Tensor) -> tf.RaggedTensor:
    """Returns the first `lengths[i]` values of each row."""
    places = tf.ragged.range(rows.row_lengths())
    return tf.ragged.boolean_mask(
        rows, places.with_flat_values(places.flat_values < tf.gather(lengths, places.value_rowids()))
    )
