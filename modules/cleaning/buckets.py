"""Removal of exact duplicates, and splits by content, for corpora of any size in bounded memory.

Beam workers call these plain functions:
    `scatter` hashes each document and appends it to the file of the bucket that its hash selects;
    `unique_documents` loads one bucket, which holds all copies of a document, and sorts it by hash;
    `write_bucket` writes the kept documents of a bucket to one file per split.
Before the last step `modules.cleaning.corpus_cleaning` finds near duplicates and leaks. On a cluster, a Beam shuffle
would do the same work, but Beam's local runner holds every shuffled element in memory.
"""

import bisect
import dataclasses
import hashlib
import itertools
import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping

import pydantic
import tensorflow as tf

from modules.common.errors import InputError
from modules.data.documents import Document, add_up
from modules.data.examples import serialized_example

TRAIN = "train"
BUCKET_BYTES = 16 * 2**20
MAX_BUCKETS = 4096
FLUSH_BYTES = 16 * 2**20

_DIGEST_BYTES = 32
_HEADER = struct.Struct(f">{_DIGEST_BYTES}sHI")  # digest, bytes of the source, bytes of the payload
_MAX_SOURCE_BYTES = 2**16 - 1
# With the lowest level, writing is three times as fast and the files are only a little larger.
_COMPRESSION = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)


class BucketCounts(pydantic.BaseModel):
    """Numbers of kept documents and of their texts' bytes by split, and of dropped documents by reason."""

    documents: dict[str, int]
    bytes: dict[str, int]
    dropped: dict[str, int]

    @classmethod
    def zero(cls, splits: Iterable[str] = ()) -> "BucketCounts":
        """Returns counts of 0 for the splits."""
        zeros = dict.fromkeys(splits, 0)
        return cls(documents=zeros, bytes=dict(zeros), dropped={})

    def add(self, counts: "BucketCounts") -> None:
        """Adds the counts of another worker."""
        add_up(self.documents, counts.documents)
        add_up(self.bytes, counts.bytes)
        add_up(self.dropped, counts.dropped)


@dataclasses.dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document in a bucket; `position` is its number among the bucket's different documents, from 0."""

    position: int
    digest: bytes
    source: str
    features: Mapping[str, list[str]]
    content: str

    @property
    def answer(self) -> str:
        """The text that a model learns to write: the completions of a conversation, or else the content."""
        return "\n".join(self.features["completion"]) if "completion" in self.features else self.content


def number_of_buckets(corpus_bytes: int) -> int:
    """Returns how many buckets are needed so that each holds about `BUCKET_BYTES` bytes; at most `MAX_BUCKETS`."""
    return min(MAX_BUCKETS, max(1, -(-corpus_bytes // BUCKET_BYTES)))


def bucket_of(digest: bytes, buckets: int) -> int:
    """Returns the bucket's number, which follows from the digest's first bits; bucket 0 has the smallest digests."""
    return int.from_bytes(digest[:8], "big") * buckets >> 64


def split_of(digest: bytes, weights: Mapping[str, int]) -> str:
    """Returns the split of a document, which depends only on its content: new documents never move old ones.

    `weights={"train": 18, "eval": 1, "test": 1}` gives train 90% of the documents. The digest's last bits decide. They
    are independent of the first bits, which select the bucket.
    """
    bounds = list(itertools.accumulate(weights.values()))
    return list(weights)[bisect.bisect(bounds, int.from_bytes(digest[-8:], "big") % bounds[-1])]


def checked_weights(weights: object) -> dict[str, int]:
    """Returns the splits' shares in their given order.

    Raises:
        InputError: A share is not a whole number above 0, or `train` or `eval` has no share.
    """
    if not isinstance(weights, dict) or not {"train", "eval"} <= set(weights):
        raise InputError(
            f'Splits must be shares by name with at least "train" and "eval". Received: {weights!r}. '
            f'Write for example {{"train": 18, "eval": 1, "test": 1}}.'
        )
    for split, weight in weights.items():
        if not isinstance(weight, int) or isinstance(weight, bool) or weight < 1:
            raise InputError(f"The share of split {split!r} must be a whole number above 0. Received: {weight!r}.")
    return weights


def check_splits(counts: BucketCounts, weights: Mapping[str, int]) -> None:
    """Makes sure that every split holds a document.

    Raises:
        InputError: A split is empty.
    """
    empty = [split for split in weights if not counts.documents.get(split)]
    if not empty:
        return
    total = sum(counts.documents.values())
    shares = ", ".join(f"{split} {weight}" for split, weight in weights.items())
    dropped = ", ".join(f"{number} {reason}" for reason, number in counts.dropped.items() if number)
    raise InputError(
        f"Every split needs at least one document, but {' and '.join(empty)} got none of the "
        f"{total} different documents (shares: {shares}). Received: {total} documents (dropped: {dropped or 'none'}). "
        f"Add text, split .txt files into more documents with `document_separator` (for example blank_line), or give "
        f"the split a larger share."
    )


def scatter(documents: Iterable[Document], directory: str, *, writer: str, buckets: int) -> None:
    """Appends every document to the file of its bucket.

    Args:
        documents: Read as a stream; at most `FLUSH_BYTES` and one document are in memory.
        directory: Folder for the files `bucket-00000/<writer>` and so on; a path or URL that tf.io.gfile can write.
        writer: Name of this worker's own files, which a repeated attempt overwrites.
        buckets: Number of buckets from `number_of_buckets`, the same for all writers.
    """
    for stale in tf.io.gfile.glob(os.path.join(directory, "bucket-*", writer)):
        tf.io.gfile.remove(stale)
    pending: dict[int, list[bytes]] = {}
    pending_bytes = 0
    for document in documents:
        record = _packed(document)
        pending.setdefault(bucket_of(record, buckets), []).append(record)
        pending_bytes += len(record)
        if pending_bytes >= FLUSH_BYTES:
            _append(pending, directory, writer)
            pending, pending_bytes = {}, 0
    _append(pending, directory, writer)


def _packed(document: Document) -> bytes:
    payload = document.payload()
    source = document.source.encode("utf-8", "replace")[:_MAX_SOURCE_BYTES]
    return _HEADER.pack(hashlib.sha256(payload).digest(), len(source), len(payload)) + source + payload


def _append(pending: Mapping[int, list[bytes]], directory: str, writer: str) -> None:
    for bucket, records in pending.items():
        folder = bucket_directory(directory, bucket)
        tf.io.gfile.makedirs(folder)
        with tf.io.gfile.GFile(os.path.join(folder, writer), "ab") as handle:
            handle.write(b"".join(records))


def bucket_directory(directory: str, bucket: int) -> str:
    """Returns the folder that holds one bucket, with one file per writer."""
    return os.path.join(directory, f"bucket-{bucket:05d}")


def unique_documents(directory: str, bucket: int, counts: BucketCounts | None = None) -> Iterator[StoredDocument]:
    """Yields one bucket's different documents, sorted by hash, and counts the dropped copies.

    Sorting by hash makes the result independent of the documents' original order, and it works like shuffling. Among
    equal documents, the document with the alphabetically first source is kept.
    """
    kept: dict[bytes, tuple[bytes, bytes]] = {}
    for digest, source, payload in _read_bucket(directory, bucket):
        if digest not in kept:
            kept[digest] = (source, payload)
            continue
        kept[digest] = min(kept[digest], (source, payload))
        if counts:
            add_up(counts.dropped, {"exact_duplicate": 1})
    for position, (digest, (source, payload)) in enumerate(sorted(kept.items())):
        features, content = json.loads(payload)
        if content is None:
            content = features["text"][0]
        yield StoredDocument(position, digest, source.decode("utf-8", "replace"), features, content)


def _read_bucket(directory: str, bucket: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yields (digest, source, payload) from the files of all writers."""
    for path in sorted(tf.io.gfile.glob(os.path.join(bucket_directory(directory, bucket), "*"))):
        with tf.io.gfile.GFile(path, "rb") as handle:
            content = handle.read()
        position = 0
        while position < len(content):
            digest, source_bytes, payload_bytes = _HEADER.unpack_from(content, position)
            payload_start = position + _HEADER.size + source_bytes
            position = payload_start + payload_bytes
            yield digest, content[payload_start - source_bytes : payload_start], content[payload_start:position]


def write_bucket(
    documents: Iterable[StoredDocument],
    *,
    weights: Mapping[str, int],
    splits: Iterable[str],
    shard_path: Callable[[str], str],
    drop_reason: Callable[[StoredDocument, str], str | None] = lambda document, split: None,
    on_document: Callable[[], None] = lambda: None,
) -> BucketCounts:
    """Writes one bucket's documents to one file per split.

    Args:
        documents: Documents from `unique_documents`.
        weights: Each split's share, see `split_of`.
        splits: Only documents of these splits are written and counted.
        shard_path: Returns the path of a split's file for this bucket, a gzip TFRecord file of tf.Examples. The file
            is created only if it gets a document.
        drop_reason: Returns the reason why a document of a split is dropped, or None to write it.
        on_document: Called after each written document.

    Returns:
        Counts of the written documents and of those that `drop_reason` dropped.
    """
    splits = set(splits)
    counts = BucketCounts.zero()
    writers: dict[str, tf.io.TFRecordWriter] = {}
    try:
        for document in documents:
            split = split_of(document.digest, weights)
            if split not in splits:
                continue
            reason = drop_reason(document, split)
            if reason:
                add_up(counts.dropped, {reason: 1})
                continue
            if split not in writers:
                writers[split] = tf.io.TFRecordWriter(shard_path(split), _COMPRESSION)
            writers[split].write(serialized_example(document.features, document.content, document.source))
            add_up(counts.documents, {split: 1})
            add_up(counts.bytes, {split: _text_bytes(document.features)})
            on_document()
    finally:
        for shard in writers.values():
            shard.close()
    return counts


def _text_bytes(features: Mapping[str, list[str]]) -> int:
    return sum(len(text.encode("utf-8")) for texts in features.values() for text in texts)
