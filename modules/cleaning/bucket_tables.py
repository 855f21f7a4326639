"""Files between the steps of cleaning: a table and the examples of each bucket's documents, and arrays by name."""

import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Self

import numpy as np
from etils import epath

from modules.cleaning.buckets import TRAIN, BucketCounts
from modules.data.documents import add_up
from modules.data.example_encoding import write_frames


@dataclasses.dataclass(frozen=True, kw_only=True)
class BucketTable:
    """Facts about a bucket's different documents, in the order of `unique_documents`.

    Attributes:
        splits: uint8 `[documents]`, the number of each document's split among the weights.
        keys: uint64 `[documents]`, the number that decides each document's split by hash, see `buckets.split_of`.
        sources: uint16 `[documents]`, the number of each document's source among the counted sources, from 1; or 0.
        frame_bytes: int64 `[documents]`, the size of each document's record in the file of the bucket's records.
        text_bytes: int64 `[documents]`, the size of its texts in UTF-8.
        has_signature: bool `[documents]`, True if it has a signature for the search for near duplicates.
        ngrams: int64 `[documents]`, the number of its runs of words for the measurement of leakage.
        found: int64 `[documents]`, the number of those runs that are held out.
        places: int64 `[sum of found]`, the index of each of them among the corpus's held-out runs.
    """

    splits: np.ndarray
    keys: np.ndarray
    sources: np.ndarray
    frame_bytes: np.ndarray
    text_bytes: np.ndarray
    has_signature: np.ndarray
    ngrams: np.ndarray
    found: np.ndarray
    places: np.ndarray

    @classmethod
    def joined(cls, tables: Sequence[Self]) -> Self:
        """Returns one table of the documents of one or more tables."""
        return cls(
            **{
                field.name: np.concatenate([getattr(table, field.name) for table in tables])
                for field in dataclasses.fields(cls)
            }
        )

    @classmethod
    def read(cls, directory: str, bucket: int) -> Self:
        """Reads what `write` wrote."""
        with np.load(io.BytesIO(_table_path(directory, bucket).read_bytes()), allow_pickle=False) as arrays:
            return cls(**arrays)

    def write(self, directory: str, bucket: int) -> None:
        """Writes the table of a bucket into the folder of the buckets."""
        buffer = io.BytesIO()
        np.savez(buffer, **dataclasses.asdict(self))
        _table_path(directory, bucket).write_bytes(buffer.getvalue())

    def marked(self, marks: np.ndarray) -> np.ndarray:
        """Returns int64 `[documents]`, how many of each document's held-out runs are True in bool `[held-out runs]`."""
        sums = np.append(0, np.cumsum(marks[self.places]))
        ends = np.cumsum(self.found)
        return sums[ends] - sums[ends - self.found]

    def places_of(self, documents: np.ndarray) -> np.ndarray:
        """Returns the places of the documents that are True in bool `[documents]`."""
        return self.places[np.repeat(documents, self.found)]


def write_records(directory: str, bucket: int, batches: Iterable[Sequence[bytes]]) -> None:
    """Writes the records of a bucket, results of `record_frame`, in the order of its table."""
    with _records_path(directory, bucket).open("wb") as file:
        for batch in batches:
            file.write(b"".join(batch))


def write_shards(
    directory: str,
    bucket: int,
    *,
    splits: Sequence[str],
    sources: Sequence[str] = (),
    drop_codes: np.ndarray,
    drop_reasons: Mapping[int, str],
    shard_path: Callable[[str], str],
    on_document: Callable[[], None] = lambda: None,
) -> BucketCounts:
    """Writes one bucket's documents to one file per split.

    Args:
        directory: Folder of the buckets.
        bucket: Number of the bucket, whose table and records were written.
        splits: Names of the splits in the order of their numbers in the table.
        sources: Names of the counted sources in the order of their numbers in the table.
        drop_codes: uint8 `[documents]`, 0 to write the document or else a key of `drop_reasons`.
        drop_reasons: Reason to count for each code.
        shard_path: Returns the path of a split's file for this bucket, a gzip TFRecord file of tf.Examples. The file
            is created only if it gets a document.
        on_document: Called for each written document.

    Returns:
        Counts of the written and of the dropped documents.
    """
    table = BucketTable.read(directory, bucket)
    records = memoryview(_records_path(directory, bucket).read_bytes())
    ends = np.cumsum(table.frame_bytes)
    counts = BucketCounts.zero()
    for code, reason in drop_reasons.items():
        number = int((drop_codes == code).sum())
        if number:
            add_up(counts.dropped, {reason: number})

    def frames(kept: np.ndarray) -> Iterator[memoryview]:
        for start, end in zip((ends - table.frame_bytes)[kept].tolist(), ends[kept].tolist(), strict=True):
            yield records[start:end]
            on_document()

    for number, split in enumerate(splits):
        kept = (table.splits == number) & (drop_codes == 0)
        if kept.any():
            write_frames(shard_path(split), frames(kept))
            counts.documents[split] = int(kept.sum())
            counts.bytes[split] = int(table.text_bytes[kept].sum())
            if split == TRAIN:
                by_source = np.bincount(table.sources[kept], minlength=len(sources) + 1)[1:]
                counts.train_by_source = dict(zip(sources, by_source.tolist(), strict=True))
    return counts


def save_array(directory: str, name: str, array: np.ndarray) -> None:
    """Writes an array under a name into the folder of the buckets, a path or a URL such as `gs://bucket/path`."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    _array_path(directory, name).write_bytes(buffer.getvalue())


def load_array(directory: str, name: str) -> np.ndarray:
    """Reads an array that `save_array` wrote; of a file on this machine, processes share the memory."""
    path = _array_path(directory, name)
    if "://" not in str(path):
        return np.load(path, mmap_mode="r", allow_pickle=False)
    return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)


def _array_path(directory: str, name: str) -> epath.Path:
    return epath.Path(directory) / f"{name}.npy"


def _table_path(directory: str, bucket: int) -> epath.Path:
    return epath.Path(directory) / f"table-{bucket:05d}.npz"


def _records_path(directory: str, bucket: int) -> epath.Path:
    return epath.Path(directory) / f"records-{bucket:05d}"
