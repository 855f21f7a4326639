"""Packed training windows from the token ids of documents, and batches of windows."""

from collections.abc import Mapping

import tensorflow as tf

from modules.training.fitted_rows import ENDED

# The column with 1 for each document whose predecessor ended, else 0.
BEFORE = "ended_before"
# A window, or a batch of windows: `token_ids` and the other columns that `packed_windows` returns.
Windows = Mapping[str, tf.Tensor]


def packed_windows(
    documents: tf.data.Dataset, *, window: int, end_of_text_id: int, isolate_documents: bool = False
) -> tf.data.Dataset:
    """Joins documents by `<|endoftext|>` and cuts the stream into windows without padding.

    The `<|endoftext|>` before a document is its first input. It is also the target that ends the previous document.
    With `end_of_text_id = 1` and `window = 4`:

    ```
    token_ids      = [[5, 6, 7], [8], [9, 9]]
    loss_mask      = [[0, 1, 1], [1], [0, 0]]

    token_ids      = [1, 5, 6, 7]  [1, 8, 1, 9]  (tokens at the very end that do not fill a window are dropped)
    loss_mask      = [1, 0, 1, 1]  [1, 1, 1, 0]
    document_index = [1, 1, 1, 1]  [1, 1, 2, 2]  (0: the document began in an earlier window)
    ```

    Args:
        documents: Batches of `token_ids`, ragged int64 `[documents, tokens]`, and, where not every token counts in
            the loss, `loss_mask` of the same shape and type: 0 or 1. With `loss_mask` there may be `fitted_rows.ENDED`:
            the `<|endoftext|>` after a document that is cut does not count.
        window: Tokens in a window.
        end_of_text_id: Id put before each document. It counts in the loss as the end of the previous document.
        isolate_documents: Whether to add `document_index`, which shows the tokens that belong to the same document.

    Returns:
        Windows of int32 `[window]` vectors: `token_ids`; `loss_mask`, if the documents have it (windows in which no
        target counts are then left out); and `document_index`, if documents are isolated.
    """

    def flatten(columns: Mapping[str, tf.RaggedTensor]) -> Windows:
        stream = {"token_ids": _with_first(end_of_text_id, columns["token_ids"])}
        if "loss_mask" in columns:
            stream["loss_mask"] = _with_first(columns.get(BEFORE, 1), columns["loss_mask"])
        if isolate_documents:
            stream["document_start"] = _with_first(1, tf.zeros_like(columns["token_ids"]))
        return stream

    if ENDED in documents.element_spec:
        documents = documents.scan(tf.constant([1], tf.int64), _move_ends)
    windows = documents.map(flatten).rebatch(window, drop_remainder=True)
    if "loss_mask" in windows.element_spec:
        windows = windows.filter(lambda columns: tf.reduce_any(columns["loss_mask"][1:] > 0))
    return windows.map(_number_documents) if isolate_documents else windows


def _move_ends(last: tf.Tensor, columns: Mapping[str, tf.RaggedTensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Adds for each document whether the one before it ended; `last` is the end of the previous batch, `[1]`."""
    ends = tf.concat([last, columns[ENDED][:, 0]], axis=0)
    return ends[-1:], {**columns, BEFORE: ends[:-1, tf.newaxis]}


def _with_first(value: int | tf.Tensor, rows: tf.RaggedTensor) -> tf.Tensor:
    """Puts a value, or the value of each row, before the rows and joins the rows: int32 `[values]`."""
    first = tf.broadcast_to(tf.cast(value, rows.dtype), [rows.nrows(), 1])
    return tf.cast(tf.concat([first, rows], axis=1).flat_values, tf.int32)


def _number_documents(columns: dict[str, tf.Tensor]) -> Windows:
    starts = columns.pop("document_start")
    return {**columns, "document_index": tf.cumsum(starts)}


def shift_targets(token_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Splits int32 `[…, time]` into inputs and targets, both `[…, time - 1]`."""
    return token_ids[..., :-1], token_ids[..., 1:]


def to_batch(windows: Windows) -> dict[str, tf.Tensor]:
    """Turns windows into a batch for the objective `LanguageModelling`.

    Args:
        windows: Columns of shape int32 `[batch, time + 1]`.

    Returns:
        Columns of shape `[batch, time]`. The inputs of a `gpt2.language_model`: `token_ids` and `padding_mask`, or
        `document_index` instead of the mask if documents are isolated. Then `targets`, int32. If not all targets
        count, also `weights`, float32: 1 for a target that counts and 0 for the rest.
    """
    inputs, targets = shift_targets(windows["token_ids"])
    batch = {"token_ids": inputs, "targets": targets}
    if "document_index" in windows:
        batch["document_index"] = shift_targets(windows["document_index"])[0]
    else:
        batch["padding_mask"] = tf.ones_like(inputs, tf.bool)
    if "loss_mask" in windows:
        batch["weights"] = tf.cast(shift_targets(windows["loss_mask"])[1], tf.float32)
    return batch
