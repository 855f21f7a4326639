"""The mix of several sources in a training run: how many rows of each an epoch draws, and in which order."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

# A generator costs as much as some thousand random numbers, so it shuffles about so many rows at once.
_ROWS_PER_GENERATOR = 2**16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
    """Numbers of rows of several sources, whose rows are stored source after source.

    Each source is an endless stream: all its rows in a shuffled order, then all in another order, and so on. An epoch
    draws the next rows of each stream. So every row of a source is drawn before any is drawn again, and rows that an
    epoch leaves out come in the next. The shares hold in every part of an epoch.

    Attributes:
        rows: Number of stored rows of each source, all above 0.
        drawn: Number of rows of each source in an epoch.

    Example:
        >>> mixture = Mixture(rows=(3, 2), drawn=(2, 4))  # the rows 0, 1, 2 and 3, 4
        >>> [sorted(epoch_order(mixture, seed=0, epoch=epoch).tolist()) for epoch in range(3)]
        [[0, 2, 3, 3, 4, 4], [1, 2, 3, 3, 4, 4], [0, 1, 3, 3, 4, 4]]
    """

    rows: tuple[int, ...]
    drawn: tuple[int, ...]

    @classmethod
    def of(cls, rows: Sequence[int], tokens_per_row: Sequence[float], weights: Sequence[float]) -> "Mixture":
        """Returns the mixture in which each source has its share of the tokens; an epoch has as many rows as stored.

        `rows = [300, 100]` with equal weights and rows of equal length gives `drawn = (200, 200)`.

        Args:
            rows: Number of stored rows of each source.
            tokens_per_row: Mean number of tokens in a row of each source.
            weights: Share of the tokens of each source; their sum need not be 1.
        """
        parts = np.array(weights) / np.array(tokens_per_row)
        exact = parts / parts.sum() * sum(rows)
        drawn = np.floor(exact).astype(int)
        # The largest remainders get the rest, and every source is drawn at least once.
        drawn[np.argsort(drawn - exact, kind="stable")[: sum(rows) - drawn.sum()]] += 1
        return cls(rows=tuple(rows), drawn=tuple(np.maximum(drawn, 1).tolist()))

    @property
    def epoch_rows(self) -> int:
        """Number of rows in an epoch."""
        return sum(self.drawn)

    def drawn_by(self, total: int, *, seed: int) -> tuple[int, ...]:
        """Returns how many rows of each source are among the first `total` rows of a training run."""
        epochs, rest = divmod(total, self.epoch_rows)
        started = np.bincount(_slots(self, seed, epochs)[:rest], minlength=len(self.rows))
        return tuple((epochs * np.array(self.drawn) + started).tolist())


@functools.lru_cache(maxsize=4)
def epoch_order(mixture: Mixture, seed: int, epoch: int) -> np.ndarray:
    """Returns the rows of an epoch in their order, int64 `[epoch_rows]`; it depends only on the arguments."""
    slots = _slots(mixture, seed, epoch)
    order = np.empty(len(slots), np.int64)
    first = 0
    for source, (rows, drawn) in enumerate(zip(mixture.rows, mixture.drawn, strict=True)):
        start = epoch * drawn
        order[slots == source] = first + _stream(rows, start, start + drawn, seed=[seed, source])
        first += rows
    return order


def _stream(rows: int, start: int, end: int, *, seed: Sequence[int]) -> np.ndarray:
    """Returns a part of a source's endless stream, int64 `[end - start]` of 0 to `rows - 1`.

    One generator shuffles several passes over the rows, and as many in every epoch: a pass that one epoch begins and
    the next ends has the same order in both.
    """
    passes = max(1, _ROWS_PER_GENERATOR // rows)
    first = start // (passes * rows)
    blocks = [
        np.random.default_rng([*seed, number]).permuted(np.tile(np.arange(rows), (passes, 1)), axis=1).ravel()
        for number in range(first, -(-end // (passes * rows)))
    ]
    offset = first * passes * rows
    return np.concatenate(blocks)[start - offset : end - offset]


def _slots(mixture: Mixture, seed: int, epoch: int) -> np.ndarray:
    """Returns the source of each row of an epoch, int64 `[epoch_rows]`.

    The epoch is cut into as many equal parts as a source has rows, and each part gets one of them at a random place. So
    the beginning of an epoch has the right shares, too, to within two rows.
    """
    generator = np.random.default_rng([seed, epoch])
    places = [(np.arange(drawn) + generator.random(drawn)) / drawn for drawn in mixture.drawn]
    sources = np.repeat(np.arange(len(mixture.rows)), mixture.drawn)
    return sources[np.argsort(np.concatenate(places), kind="stable")]
