import tensorflow as tf

from modules.training.packing import packed_windows, shift_targets, to_batch


def documents(*batches: list[list[int]], masks: list[list[int]] | None = None) -> tf.data.Dataset:
    rows = [row for batch in batches for row in batch]
    columns = {"token_ids": tf.ragged.constant(rows, dtype=tf.int64)}
    if masks is not None:
        columns["loss_mask"] = tf.ragged.constant(masks, dtype=tf.int64)
    return tf.data.Dataset.from_tensor_slices(columns).ragged_batch(len(batches[0]))


def values(windows: tf.data.Dataset, name: str) -> list[list[int]]:
    return [window[name].tolist() for window in windows.as_numpy_iterator()]


def test_documents_are_joined_by_end_of_text_and_cut_across_batches() -> None:
    windows = packed_windows(documents([[5, 6, 7], [8]], [[9, 10], []]), window=3, end_of_text_id=1)
    # stream of tokens:                 1 5 6   7 1 8   1 9 10   1 (dropped)
    assert values(windows, "token_ids") == [[1, 5, 6], [7, 1, 8], [1, 9, 10]]
    assert set(windows.element_spec) == {"token_ids"}


def test_masks_follow_their_tokens_and_the_end_of_text_counts() -> None:
    packed = documents([[5, 6, 7], [8]], [[9, 9], [2]], masks=[[0, 1, 1], [1], [0, 0], [1]])
    windows = packed_windows(packed, window=4, end_of_text_id=1)
    assert values(windows, "token_ids") == [[1, 5, 6, 7], [1, 8, 1, 9]]  # 9 1 2 are dropped
    assert values(windows, "loss_mask") == [[1, 0, 1, 1], [1, 1, 1, 0]]


def test_a_window_in_which_no_target_counts_is_left_out() -> None:
    # The first token of a window is not a target, so its mask does not count.
    packed = documents([[5, 6, 7, 8, 9, 10]], masks=[[0, 0, 0, 0, 0, 1]])
    windows = packed_windows(packed, window=3, end_of_text_id=1)
    assert values(packed_windows(documents([[5, 6, 7, 8, 9]]), window=3, end_of_text_id=1), "token_ids") == [
        [1, 5, 6],
        [7, 8, 9],
    ]
    assert values(windows, "token_ids") == []
    kept = documents([[5, 6, 7, 8, 9, 10]], masks=[[0, 0, 0, 0, 1, 1]])
    assert values(packed_windows(kept, window=3, end_of_text_id=1), "token_ids") == [[7, 8, 9]]


def test_documents_are_numbered_by_their_borders_and_not_by_end_of_text() -> None:
    # The second document is empty. The third document contains an <|endoftext|>.
    packed = documents([[5, 6, 7], []], [[8, 1, 9], [2]])
    windows = packed_windows(packed, window=5, end_of_text_id=1, isolate_documents=True)
    assert values(windows, "token_ids") == [[1, 5, 6, 7, 1], [1, 8, 1, 9, 1]]
    assert values(windows, "document_index") == [[1, 1, 1, 1, 2], [1, 1, 1, 1, 2]]
    windows = packed_windows(packed, window=3, end_of_text_id=1, isolate_documents=True)
    assert values(windows, "token_ids") == [[1, 5, 6], [7, 1, 1], [8, 1, 9]]
    assert values(windows, "document_index") == [[1, 1, 1], [0, 1, 2], [0, 0, 0]]


def test_targets_are_the_next_tokens() -> None:
    inputs, targets = shift_targets(tf.constant([[10, 11, 12, 1]]))
    assert inputs.numpy().tolist() == [[10, 11, 12]]
    assert targets.numpy().tolist() == [[11, 12, 1]]


def test_a_batch_holds_inputs_and_next_tokens() -> None:
    batch = to_batch({"token_ids": tf.constant([[1, 2, 3], [4, 5, 6]])})
    assert {name: column.numpy().tolist() for name, column in batch.items()} == {
        "token_ids": [[1, 2], [4, 5]],
        "targets": [[2, 3], [5, 6]],
        "padding_mask": [[True, True], [True, True]],
    }


def test_weights_are_the_loss_masks_of_the_targets() -> None:
    windows = {"token_ids": tf.constant([[1, 5, 6, 7, 1]]), "loss_mask": tf.constant([[1, 0, 1, 1, 1]])}
    batch = to_batch(windows)
    assert batch["token_ids"].numpy().tolist() == [[1, 5, 6, 7]]
    assert batch["targets"].numpy().tolist() == [[5, 6, 7, 1]]
    assert batch["weights"].numpy().tolist() == [[0.0, 1.0, 1.0, 1.0]]
    assert batch["weights"].dtype == tf.float32


def test_a_batch_of_isolated_windows_holds_the_document_of_each_input() -> None:
    # The second <|endoftext|> is the last target of document 1 and the first input of document 2.
    windows = {"token_ids": tf.constant([[1, 5, 1, 6, 7]]), "document_index": tf.constant([[1, 1, 2, 2, 2]])}
    batch = to_batch(windows)
    assert set(batch) == {"token_ids", "document_index", "targets"}
    assert batch["token_ids"].numpy().tolist() == [[1, 5, 1, 6]]
    assert batch["document_index"].numpy().tolist() == [[1, 1, 2, 2]]
    assert batch["targets"].numpy().tolist() == [[5, 1, 6, 7]]
