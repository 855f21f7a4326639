import numpy as np
import pytest
import tensorflow as tf

from modules.training.stored_rows import Share, StoredRows, batch_rows, batches_in_order, shuffled_batches, store_rows


def numbered_rows(count: int) -> StoredRows:
    """Stores the rows [n, n + 100]."""
    return store_rows(tf.data.Dataset.range(count).map(lambda n: {"token_ids": tf.stack([n, n + 100])}))


def taken(rows: StoredRows, *, first: int, end: int, seed: int = 3, batch_size: int = 2) -> list[list[int]]:
    batches = shuffled_batches(
        rows, batch_size=batch_size, seed=seed, first=first, end=end, to_batch=lambda columns: columns["token_ids"]
    )
    assert batches.element_spec.shape == (batch_size, 2)
    return [batch[:, 0].tolist() for batch in batches.as_numpy_iterator()]


def test_an_epoch_holds_every_row_once_in_a_seeded_order_of_its_own() -> None:
    rows = numbered_rows(8)
    first, second = (np.ravel(taken(rows, first=epoch * 4, end=epoch * 4 + 4)).tolist() for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(8))
    assert first != second
    assert np.ravel(taken(rows, first=0, end=4)).tolist() == first
    assert np.ravel(taken(rows, first=0, end=4, seed=4)).tolist() != first


@pytest.mark.parametrize("first", [0, 1, 4, 5, 6, 9])
def test_the_sequence_can_start_at_any_batch(first: int) -> None:
    rows = numbered_rows(7)  # with batches of 3 no epoch ends with a batch
    whole = taken(rows, first=0, end=10, batch_size=3)
    assert taken(rows, first=first, end=10, batch_size=3) == whole[first:]


def test_a_batch_may_contain_the_end_of_an_epoch_and_the_start_of_the_next() -> None:
    numbers = np.concatenate([batch_rows(number, rows=4, batch_size=3, seed=0) for number in range(4)])
    assert [sorted(epoch) for epoch in numbers.reshape(3, 4).tolist()] == [[0, 1, 2, 3]] * 3


def test_in_order_the_last_batch_may_be_smaller() -> None:
    batches = batches_in_order(numbered_rows(5), batch_size=2, to_batch=lambda columns: columns["token_ids"][:, 0])
    assert [batch.tolist() for batch in batches.as_numpy_iterator()] == [[0, 1], [2, 3], [4]]


def test_a_share_is_the_same_part_of_every_batch() -> None:
    def read(share: Share) -> list[list[int]]:
        batches = batches_in_order(
            numbered_rows(5), batch_size=4, to_batch=lambda columns: columns["token_ids"][:, 0], share=share
        )
        return [batch.tolist() for batch in batches.as_numpy_iterator()]

    assert read(Share(parts=2, mine=range(2))) == [[0, 1], [2, 3], [4], []]
    assert read(Share(parts=2, mine=range(1, 2))) == [[2, 3], []]


def test_many_rows_are_stored_unchanged_and_different_rows_have_different_digests() -> None:
    rows = numbered_rows(2500)  # more than are read at once
    assert rows.count == 2500
    assert rows.columns["token_ids"].tolist() == [[n, n + 100] for n in range(2500)]
    assert rows.digest == numbered_rows(2500).digest
    assert len({numbered_rows(count).digest for count in (0, 1, 2, 2499, 2500)}) == 5
    assert numbered_rows(0).columns["token_ids"].shape == (0, 2)
