import logging

import pytest
import tensorflow as tf

from modules.training.preference_pairs import mean_tokens, store_pairs, to_batch
from tests.toys.preferences import documents

ROWS = (([5, 6], [7], [8, 9, 8]), ([5], [6, 7], [6]), ([], [4], [3, 3]))


def test_both_rows_of_all_pairs_have_the_length_of_the_longest_row() -> None:
    pairs = store_pairs(documents(*ROWS), longest=9, end_of_text_id=1, split="train")
    assert pairs.columns["token_ids"].tolist() == [
        [[1, 5, 6, 7, 1, 1, 1], [1, 5, 6, 8, 9, 8, 1]],
        [[1, 5, 6, 7, 1, 1, 1], [1, 5, 6, 1, 1, 1, 1]],
        [[1, 4, 1, 1, 1, 1, 1], [1, 3, 3, 1, 1, 1, 1]],
    ]
    assert pairs.columns["loss_mask"].tolist() == [
        [[0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1]],
        [[0, 0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0, 0]],
        [[0, 1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0, 0]],
    ]
    # Targets of each pair, including the <|endoftext|> that ends an answer: 4 + 6, 4 + 3, 2 + 3.
    assert mean_tokens(pairs) == round((10 + 7 + 5) / 3) == 7


def test_pairs_that_are_too_long_are_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="absl"):
        pairs = store_pairs(documents(*ROWS), longest=5, end_of_text_id=1, split="train")
    assert pairs.columns["token_ids"].tolist() == [
        [[1, 5, 6, 7, 1], [1, 5, 6, 1, 1]],
        [[1, 4, 1, 1, 1], [1, 3, 3, 1, 1]],
    ]
    assert "1 of 3 pairs of train are longer than 5 tokens (`model.context_length` + 1) and are left out" in caplog.text


def test_at_most_limits_the_pairs_and_a_split_may_have_no_pair() -> None:
    assert store_pairs(documents(*ROWS), longest=9, end_of_text_id=1, split="eval", at_most=2).count == 2
    assert store_pairs(documents(*ROWS), longest=3, end_of_text_id=1, split="eval").count == 0


def test_a_batch_has_the_targets_of_its_inputs_and_keeps_other_columns() -> None:
    batch = to_batch(
        {
            "token_ids": tf.constant([[[1, 5, 7, 1], [1, 5, 1, 1]]]),
            "loss_mask": tf.constant([[[0, 0, 1, 1], [0, 0, 1, 0]]]),
            "reference": tf.constant([[-2.0, -3.0]]),
        }
    )
    assert {name: column.numpy().tolist() for name, column in batch.items()} == {
        "reference": [[-2.0, -3.0]],
        "token_ids": [[[1, 5, 7], [1, 5, 1]]],
        "targets": [[[5, 7, 1], [5, 1, 1]]],
        "weights": [[[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]]],
    }


def test_answers_that_are_cut_have_no_end_and_their_prompts_stay_whole() -> None:
    rows = (([5, 6], [7], [8, 9, 8]), ([5, 6, 7, 8], [6], [7]), ([5, 6], [7, 8, 9], [7, 8]))
    pairs = store_pairs(documents(*rows), longest=5, end_of_text_id=1, split="train", truncate=True)
    # The second prompt fills the context of 4, and the answers of the third pair differ only after it.
    assert pairs.columns["token_ids"].tolist() == [[[1, 5, 6, 7, 1], [1, 5, 6, 8, 9]]]
    assert pairs.columns["loss_mask"].tolist() == [[[0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]]
    short = store_pairs(documents(([5], [6], [7])), longest=5, end_of_text_id=1, split="train", truncate=True)
    assert short.columns["token_ids"].tolist() == [[[1, 5, 6, 1], [1, 5, 7, 1]]]
