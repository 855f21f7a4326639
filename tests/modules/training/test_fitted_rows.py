import numpy as np
import tensorflow as tf

from modules.tokenization import context_limit
from modules.training import fitted_rows
from modules.training.fitted_rows import ENDED, measure_rows
from modules.training.packing import packed_windows
from tests.toys.preferences import documents as pairs


def turns(*rows: tuple[int, int]) -> tf.data.Dataset:
    """Returns batches of two rows with so many tokens in the prompt (5) and in the completion (7)."""
    ids = [[5] * prompt + [7] * completion for prompt, completion in rows]
    masks = [[0] * prompt + [1] * completion for prompt, completion in rows]
    columns = {"token_ids": ids, "loss_mask": masks}
    ragged = {name: tf.ragged.constant(values, tf.int64, ragged_rank=1) for name, values in columns.items()}
    return tf.data.Dataset.from_tensor_slices(ragged).batch(2)


def fitted(documents: tf.data.Dataset, *, context_length: int, truncate: bool) -> tf.data.Dataset:
    fit = context_limit.fit(measure_rows(documents), context_length=context_length, truncate=truncate)
    return fitted_rows.fitted(documents, fit, context_length=context_length)


def rows_of(documents: tf.data.Dataset, name: str) -> list[list[int]]:
    return [row for batch in documents for row in batch[name].to_list()]


def test_rows_of_instructions_are_dropped_or_cut() -> None:
    documents = turns((1, 2), (1, 9), (6, 1))
    assert measure_rows(documents).whole.tolist() == [[3], [10], [7]]
    assert fitted(documents, context_length=11, truncate=False) is documents
    dropped = fitted(documents, context_length=5, truncate=False)
    assert rows_of(dropped, "token_ids") == [[5, 7, 7]]
    cut = fitted(documents, context_length=5, truncate=True)
    assert rows_of(cut, "token_ids") == [[5, 7, 7], [5, 7, 7, 7, 7]]
    assert rows_of(cut, "loss_mask") == [[0, 1, 1], [0, 1, 1, 1, 1]]
    assert [batch[ENDED].numpy().tolist() for batch in cut] == [[[1], [0]], []]


def test_the_end_of_text_after_a_row_that_is_cut_does_not_count() -> None:
    # The batches end with a row that is cut, and with one that is not.
    cut = fitted(turns((1, 1), (1, 9), (6, 1), (1, 1), (1, 1)), context_length=3, truncate=True)
    (window,) = packed_windows(cut, window=12, end_of_text_id=0).as_numpy_iterator()
    assert window["token_ids"].tolist() == [0, 5, 7, 0, 5, 7, 7, 0, 5, 7, 0, 5]
    assert window["loss_mask"].tolist() == [1, 0, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0]


def test_training_drops_and_cuts_exactly_what_was_counted_before() -> None:
    random = np.random.default_rng(0)
    lengths = [tuple(map(int, random.integers(1, 9, 2))) for _ in range(60)]
    for documents in (turns(*lengths), pairs(*(([5] * a, [6] * a, [6] * b) for a, b in lengths if a != b))):
        rows = measure_rows(documents)
        for truncate in (False, True):
            counts = context_limit.count(rows, context_length=8, truncate=truncate)
            made = fitted(documents, context_length=8, truncate=truncate)
            kept = [batch[ENDED].numpy() for batch in made]
            dropped = sum(number for name, number in counts.items() if name.startswith("dropped"))
            assert sum(map(len, kept)) == len(rows.prompt) - dropped > 0
            assert dropped > 0
            cut = sum(int((ended == 0).any(axis=1).sum()) for ended in kept)
            assert cut == counts.get("changed_answers_cut_at_the_context", 0)
