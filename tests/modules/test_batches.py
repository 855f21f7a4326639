import tensorflow as tf

from modules.batches import packed_windows, sample, shift_targets, training_batches


def documents(*batches: list[list[int]]) -> tf.data.Dataset:
    rows = [row for batch in batches for row in batch]
    return tf.data.Dataset.from_tensor_slices(tf.ragged.constant(rows, dtype=tf.int64)).ragged_batch(len(batches[0]))


def test_documents_are_joined_by_end_of_text_and_cut_across_batches() -> None:
    windows = packed_windows(documents([[5, 6, 7], [8]], [[9, 10], []]), window=3, end_of_text_id=1)
    # the stream:                1 5 6   7 1 8   1 9 10   1 (dropped)
    assert [window.tolist() for window in windows.as_numpy_iterator()] == [[1, 5, 6], [7, 1, 8], [1, 9, 10]]


def test_targets_are_the_next_tokens() -> None:
    inputs, targets = shift_targets(tf.constant([[10, 11, 12, 1]]))
    assert inputs.numpy().tolist() == [[10, 11, 12]]
    assert targets.numpy().tolist() == [[11, 12, 1]]


def test_training_batches_see_every_window_once_an_epoch_in_a_seeded_order() -> None:
    windows = tf.data.Dataset.range(8).map(lambda n: tf.stack([n, n + 100]))

    def epochs(seed: int) -> list[list[int]]:
        batches = training_batches(windows, batch_size=2, seed=seed).take(8)
        seen = [int(row) for inputs, _ in batches for row in inputs["token_ids"][:, 0]]
        return [seen[:8], seen[8:]]

    first, second = epochs(seed=3)
    assert sorted(first) == sorted(second) == list(range(8))
    assert first != second
    assert epochs(seed=3) == [first, second]
    assert epochs(seed=4) != [first, second]


def test_sample_takes_the_first_windows_into_memory() -> None:
    windows = tf.data.Dataset.from_tensor_slices([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    inputs, targets = sample(windows, 2)
    assert inputs["token_ids"].numpy().tolist() == [[1, 2], [4, 5]]
    assert inputs["padding_mask"].numpy().tolist() == [[True, True], [True, True]]
    assert targets.numpy().tolist() == [[2, 3], [5, 6]]
    assert sample(windows, 9)[1].shape == (3, 2)
