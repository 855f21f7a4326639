"""The mix of sources has the wanted shares in every epoch, and reads every row of a source before it repeats one."""

import itertools
from collections import Counter

import numpy as np
import pytest

from modules.training.source_mixture import Mixture, epoch_order
from modules.training.stored_rows import StoredRows, batch_rows, joined_rows


@pytest.mark.parametrize(
    ("rows", "tokens_per_row", "weights", "drawn"),
    [
        ((300, 100), (128, 128), (1, 1), (200, 200)),
        ((300, 100), (128, 128), (3, 1), (300, 100)),
        ((300, 100), (128, 128), (0.1, 0.9), (40, 360)),
        ((300, 100), (64, 128), (1, 1), (267, 133)),  # rows of half the length: twice as many
        ((10, 10, 10), (8, 8, 8), (1, 1, 1), (10, 10, 10)),
        ((5, 5), (8, 8), (2, 1), (7, 3)),
        ((50, 50), (8, 8), (1000, 1), (100, 1)),  # every source is drawn at least once
    ],
)
def test_each_source_gets_its_share_of_the_tokens(rows, tokens_per_row, weights, drawn):
    assert Mixture.of(rows, tokens_per_row, weights).drawn == drawn


MIXTURE = Mixture(rows=(10, 4), drawn=(5, 9))


def test_every_row_of_a_source_is_drawn_before_one_is_repeated():
    drawn = np.concatenate([epoch_order(MIXTURE, seed=1, epoch=epoch) for epoch in range(8)])
    first, second = ([row for row in drawn.tolist() if (row < 10) == is_first] for is_first in (True, False))
    assert set(Counter(first).values()) == {4}  # 8 epochs of 5, of 10 rows
    assert set(Counter(second).values()) == {18}  # 8 epochs of 9, of 4 rows
    for start in range(0, len(first), 10):
        assert sorted(first[start : start + 10]) == list(range(10))
    for start in range(0, len(second), 4):
        assert sorted(second[start : start + 4]) == list(range(10, 14))


def test_a_source_of_few_rows_is_shuffled_by_few_generators(monkeypatch):
    made = []
    generator = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: made.append(seed) or generator(seed))
    mixture = Mixture(rows=(100_000, 3), drawn=(10, 99_990))
    drawn = np.concatenate([epoch_order(mixture, seed=1, epoch=epoch) for epoch in range(2)])
    assert len(made) <= 10  # of 66,660 passes over the small source
    passes = (drawn[drawn >= 100_000] - 100_000).reshape(-1, 3)
    assert (np.sort(passes) == [0, 1, 2]).all()  # also where a generator or an epoch ends
    assert {tuple(order) for order in passes[:100].tolist()} == set(itertools.permutations(range(3)))


def test_the_shares_hold_from_the_first_batches_on():
    mixture = Mixture(rows=(1000, 10, 90), drawn=(550, 330, 220))
    for total in range(0, 1100, 50):
        drawn = np.array(mixture.drawn_by(total, seed=3))
        assert np.abs(drawn - total * np.array([0.5, 0.3, 0.2])).max() <= 2


def test_a_batch_depends_only_on_its_number_and_the_seed():
    epochs = np.concatenate([epoch_order(MIXTURE, seed=1, epoch=epoch) for epoch in range(3)])
    batches = [batch_rows(number, rows=MIXTURE, batch_size=6, seed=1) for number in reversed(range(7))]
    assert np.concatenate(batches[::-1]).tolist() == epochs.tolist()
    assert batch_rows(0, rows=MIXTURE, batch_size=6, seed=2).tolist() != epochs[:6].tolist()


@pytest.mark.parametrize("total", [0, 5, 14, 40])
def test_what_a_training_run_drew_is_counted_exactly(total):
    drawn = np.concatenate([epoch_order(MIXTURE, seed=1, epoch=epoch) for epoch in range(3)])[:total]
    assert MIXTURE.drawn_by(total, seed=1) == (int((drawn < 10).sum()), int((drawn >= 10).sum()))


def test_rows_of_several_sources_are_joined_and_padded():
    parts = [
        StoredRows(columns={"token_ids": np.array([[5, 6, 1]])}, count=1, digest="a"),
        StoredRows(columns={"token_ids": np.array([[7, 1], [8, 1]])}, count=2, digest="b"),
    ]
    mixture = Mixture(rows=(1, 2), drawn=(2, 1))
    rows = joined_rows(parts, mixture, {"token_ids": 1})
    assert rows.columns["token_ids"].tolist() == [[5, 6, 1], [7, 1, 1], [8, 1, 1]]
    assert (rows.count, rows.epoch_rows) == (3, 3)
    reweighted = joined_rows(parts, Mixture(rows=(1, 2), drawn=(1, 2)), {"token_ids": 1})
    assert reweighted.digest != rows.digest  # a checkpoint of other shares does not fit
