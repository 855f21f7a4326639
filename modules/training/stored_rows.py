"""Rows of fixed shape on disk, to be read in any order: what training shuffles over."""

import dataclasses
import functools
import hashlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

READ_BATCH_SIZE = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredRows:
    """Rows in memory-mapped files without a name, which vanish with the process however it ends.

    Attributes:
        columns: Arrays `[rows, …]`.
        count: Rows.
        digest: SHA-256 of all values that were read, hexadecimal; what a model made of them is no part of it.
    """

    columns: Mapping[str, np.ndarray]
    count: int
    digest: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The rows of a training run.

    Attributes:
        train, validation: Rows.
        to_batch: Turns `{name: [rows, …]}` into a batch of the objective.
        tokens_per_row: Targets in a row, from which the speed in tokens per second is computed.
    """

    train: StoredRows
    validation: StoredRows
    to_batch: Callable[[dict[str, tf.Tensor]], Any]
    tokens_per_row: int


class Share(NamedTuple):
    """Which rows of each batch are read: the batch is cut into `parts`, of which those numbered `mine` come in turn.

    With `parts = 2`, the batches `2 0 3 1` and `1 2` being:

    ```
    mine = 0, 1     2 0,  3 1,  1,  2
    mine = 1        3 1,  2
    ```
    """

    parts: int = 1
    mine: range = range(1)


def store_rows(rows: tf.data.Dataset) -> StoredRows:
    """Reads a data set once.

    Args:
        rows: Dictionaries of tensors of fixed shape, e.g. from `batches.packed_windows`.
    """
    spec = rows.element_spec
    # They stay open behind the arrays, which read them for as long as they live.
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
    """The batches number `first` to `end - 1` of an endless shuffled sequence, which depends on the seed alone.

    Every epoch has an order of its own; a batch at its end goes on in the next one. With 4 rows in batches of 3, the
    epochs being `2 0 3 1` and `1 2 0 3`:

    ```
    0   2 0 3
    1   1|1 2
    2   0 3|…
    ```

    Args:
        rows: What is shuffled.
        batch_size: Rows a batch; divisible by `share.parts`.
        seed: Of the order.
        first: Number of the first batch that is given.
        end: Number of the first batch that is not given any more.
        to_batch: Makes of `{name: [batch, …]}` what the model takes.
        share: What is read of each batch.
    """

    def choose(number: int) -> np.ndarray:
        return batch_rows(number, rows=rows.count, batch_size=batch_size, seed=seed)

    return _read(rows, range(first, end), choose, batch_size // share.parts, to_batch, share)


def batches_in_order(
    rows: StoredRows,
    *,
    batch_size: int,
    to_batch: Callable[[dict[str, tf.Tensor]], Any],
    share: Share = Share(),  # noqa: B008  (a constant)
) -> tf.data.Dataset:
    """All rows as they come; the last batch may be smaller, and a part of it empty."""

    def choose(number: int) -> np.ndarray:
        return np.arange(number * batch_size, min((number + 1) * batch_size, rows.count))

    return _read(rows, range(-(-rows.count // batch_size)), choose, None, to_batch, share)


def batch_rows(number: int, *, rows: int, batch_size: int, seed: int) -> np.ndarray:
    """Which rows a batch of `shuffled_batches` holds: int64 `[batch_size]`."""
    epochs, places = np.divmod(np.arange(number * batch_size, (number + 1) * batch_size), rows)
    orders = {epoch: _order(seed, epoch, rows) for epoch in np.unique(epochs).tolist()}
    return np.array([orders[epoch][place] for epoch, place in zip(epochs.tolist(), places.tolist(), strict=True)])


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, rows: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(rows)


def _read(
    rows: StoredRows,
    numbers: range,
    choose: Callable[[int], np.ndarray],
    rows_a_part: int | None,
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
            value.set_shape((rows_a_part, *rows.columns[name].shape[1:]))
        return to_batch(dict(zip(names, values, strict=True)))

    # Autotuning has nothing to tune here, and its thread can hold up the end of an iterator for 40 s.
    options = tf.data.Options()
    options.autotune.enabled = False
    places = tf.data.Dataset.range(numbers.start * len(share.mine), numbers.stop * len(share.mine))
    return places.map(gather).prefetch(2).with_options(options)


def _mapped(file: Any, spec: tf.TensorSpec, count: int) -> np.ndarray:
    shape, dtype = (count, *spec.shape), spec.dtype.as_numpy_dtype
    file.flush()
    # An empty file cannot be mapped.
    return np.memmap(file, dtype, mode="r", shape=shape) if count else np.zeros(shape, dtype)
