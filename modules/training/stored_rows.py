"""Rows of fixed shape on disk, which training reads in a shuffled order."""

import dataclasses
import functools
import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from modules.training.record import SourceUse
from modules.training.source_mixture import Mixture, epoch_order

# Rows that `store_rows` reads at once.
READ_BATCH_SIZE = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredRows:
    """Rows in memory-mapped temporary files. The files have no name, so they vanish when the process ends.

    Attributes:
        columns: Arrays `[rows, …]` by name.
        count: Number of rows.
        digest: SHA-256 of all values that were read, hexadecimal. Columns that were added later are not part of it.
        mixture: The shares of several sources; None: an epoch has every row once.

    Example:

    >>> rows = store_rows(tf.data.Dataset.range(3).map(lambda number: {"token_ids": tf.stack([number, 7])}))
    >>> rows.count
    3
    >>> rows.columns["token_ids"].tolist()
    [[0, 7], [1, 7], [2, 7]]
    """

    columns: Mapping[str, np.ndarray]
    count: int
    digest: str
    mixture: Mixture | None = None

    @property
    def epoch_rows(self) -> int:
        """Number of rows in an epoch."""
        return self.count if self.mixture is None else self.mixture.epoch_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The rows of a training run.

    Attributes:
        train, validation: The rows of both splits.
        to_batch: Turns `{name: [rows, …]}` into a batch of the objective.
        tokens_per_row: Number of targets in a row; the speed in tokens per second is computed from it.
        unused_tokens: Number of tokens of the train split after the last full window, which are left out; None if it is
            not known, or if rows are not packed.
        split_rows: Number of rows of the train split that begin in one window and go on in the next, without their
            beginning as context; None for plain text, and if rows are not packed.
        sources: The weighted sources; empty without weights.
    """

    train: StoredRows
    validation: StoredRows
    to_batch: Callable[[dict[str, tf.Tensor]], Any]
    tokens_per_row: int
    unused_tokens: int | None = None
    split_rows: int | None = None
    sources: tuple[SourceUse, ...] = ()

    def drawn(self, rows: int, *, seed: int) -> tuple[SourceUse, ...]:
        """Returns the weighted sources with their shares of the first rows of a training run with this seed."""
        if self.train.mixture is None:
            return self.sources
        drawn = self.train.mixture.drawn_by(rows, seed=seed)
        return tuple(
            dataclasses.replace(source, drawn_rows=number) for source, number in zip(self.sources, drawn, strict=True)
        )


class Share(NamedTuple):
    """The part of each batch that is read. Each batch is cut into `parts`; the parts numbered `mine` are read in turn.

    With `parts = 2` and the batches `2 0 3 1` and `1 2`:

    ```
    mine = 0, 1     2 0,  3 1,  1,  2
    mine = 1        3 1,  2
    ```
    """

    parts: int = 1
    mine: range = range(1)


def store_rows(rows: tf.data.Dataset) -> StoredRows:
    """Reads a data set once and stores its rows.

    Args:
        rows: Dictionaries of tensors of fixed shape, e.g. from `batches.packed_windows`.
    """
    spec = rows.element_spec
    # The files stay open as long as the arrays exist, because the arrays read them.
    files = {name: tempfile.TemporaryFile() for name in spec}  # noqa: SIM115
    digests = {name: hashlib.sha256() for name in spec}
    count = 0
    for batch in rows.batch(READ_BATCH_SIZE).as_numpy_iterator():
        for name, values in batch.items():
            files[name].write(values.tobytes())
            digests[name].update(values)
        count += len(batch[next(iter(spec))])
    return StoredRows(
        columns={name: _mapped(files[name], spec[name], count) for name in spec},
        count=count,
        digest=hashlib.sha256("".join(digests[name].hexdigest() for name in sorted(spec)).encode()).hexdigest(),
    )


def joined_rows(parts: Sequence[StoredRows], mixture: Mixture, padding: Mapping[str, int]) -> StoredRows:
    """Joins the rows of several sources, source after source.

    Args:
        parts: The rows of each source; their columns may differ in the length of their last axis.
        mixture: The shares of the sources.
        padding: The value that fills shorter rows, by column; 0 for the other columns.
    """
    columns = {}
    for name in parts[0].columns:
        arrays = [part.columns[name] for part in parts]
        longest = max(array.shape[-1] for array in arrays)
        file = tempfile.TemporaryFile()  # noqa: SIM115  (stays open as long as the array exists)
        for array in arrays:
            widths = [(0, 0)] * (array.ndim - 1) + [(0, longest - array.shape[-1])]
            for start in range(0, len(array), READ_BATCH_SIZE):
                rows = np.pad(array[start : start + READ_BATCH_SIZE], widths, constant_values=padding.get(name, 0))
                file.write(rows.tobytes())
        file.flush()
        shape = (sum(len(array) for array in arrays), *arrays[0].shape[1:-1], longest)
        columns[name] = np.memmap(file, arrays[0].dtype, mode="r", shape=shape)
    digests = "".join(part.digest for part in parts)
    return StoredRows(
        columns=columns,
        count=sum(part.count for part in parts),
        digest=hashlib.sha256(f"{digests} {mixture}".encode()).hexdigest(),
        mixture=mixture,
    )


def shuffled_batches(
    rows: StoredRows,
    *,
    batch_size: int,
    seed: int,
    first: int,
    end: int,
    to_batch: Callable[[dict[str, tf.Tensor]], Any],
    share: Share = Share(),  # noqa: B008  (a constant)
) -> tf.data.Dataset:
    """Returns the batches number `first` to `end - 1` of an endless shuffled sequence.

    The sequence depends only on the rows, the batch size and the seed. Every epoch has an order of its own, and a batch
    may contain the end of an epoch and the start of the next. With 4 rows in batches of 3, and the epochs `2 0 3 1` and
    `1 2 0 3`:

    ```
    0   2 0 3
    1   1|1 2
    2   0 3|…
    ```

    Args:
        rows: The rows to shuffle.
        batch_size: Rows per batch; divisible by `share.parts`.
        seed: Seed of the order.
        first: Number of the first batch.
        end: Number after the last batch.
        to_batch: Turns `{name: [batch, …]}` into the input of the model.
        share: The part of each batch that is read.
    """

    def choose(number: int) -> np.ndarray:
        return batch_rows(number, rows=rows.mixture or rows.count, batch_size=batch_size, seed=seed)

    return _read(rows, range(first, end), choose, batch_size // share.parts, to_batch, share)


def batches_in_order(
    rows: StoredRows,
    *,
    batch_size: int,
    to_batch: Callable[[dict[str, tf.Tensor]], Any],
    share: Share = Share(),  # noqa: B008  (a constant)
) -> tf.data.Dataset:
    """Returns batches of all rows in stored order; the last batch may be smaller, and a part of it empty."""

    def choose(number: int) -> np.ndarray:
        return np.arange(number * batch_size, min((number + 1) * batch_size, rows.count))

    return _read(rows, range(-(-rows.count // batch_size)), choose, None, to_batch, share)


def batch_rows(number: int, *, rows: int | Mixture, batch_size: int, seed: int) -> np.ndarray:
    """Returns the numbers of the rows in a batch of `shuffled_batches`, int64 `[batch_size]`.

    Args:
        number: Number of the batch, from 0.
        rows: Number of rows, of which an epoch has every row once, or the shares of several sources.
        batch_size: Rows per batch.
        seed: Seed of the order.
    """
    epoch_rows = rows if isinstance(rows, int) else rows.epoch_rows
    epochs, places = np.divmod(np.arange(number * batch_size, (number + 1) * batch_size), epoch_rows)
    orders = {
        epoch: _order(seed, epoch, rows) if isinstance(rows, int) else epoch_order(rows, seed, epoch)
        for epoch in np.unique(epochs).tolist()
    }
    return np.array([orders[epoch][place] for epoch, place in zip(epochs.tolist(), places.tolist(), strict=True)])


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, rows: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(rows)


def _read(
    rows: StoredRows,
    numbers: range,
    choose: Callable[[int], np.ndarray],
    rows_per_part: int | None,
    to_batch: Callable[[dict[str, tf.Tensor]], Any],
    share: Share,
) -> tf.data.Dataset:
    names = sorted(rows.columns)

    def read(place: np.int64) -> list[np.ndarray]:
        number, part = divmod(int(place), len(share.mine))
        chosen = np.array_split(choose(number), share.parts)[share.mine[part]]
        return [rows.columns[name][chosen] for name in names]

    def gather(place: tf.Tensor) -> Any:
        values = tf.numpy_function(read, [place], [rows.columns[name].dtype for name in names])
        for name, value in zip(names, values, strict=True):
            value.set_shape((rows_per_part, *rows.columns[name].shape[1:]))
        return to_batch(dict(zip(names, values, strict=True)))

    # Autotuning has no use here, and its thread can delay the end of an iterator by 40 s.
    options = tf.data.Options()
    options.autotune.enabled = False
    places = tf.data.Dataset.range(numbers.start * len(share.mine), numbers.stop * len(share.mine))
    return places.map(gather).prefetch(2).with_options(options)


def _mapped(file: Any, spec: tf.TensorSpec, count: int) -> np.ndarray:
    shape, dtype = (count, *spec.shape), spec.dtype.as_numpy_dtype
    file.flush()
    # An empty file cannot be mapped.
    return np.memmap(file, dtype, mode="r", shape=shape) if count else np.zeros(shape, dtype)
