"""Exact duplicates dropped and splits made by content, for corpora of any size in bounded memory.

Two passes, each a plain function that a Beam worker calls:
    `scatter` hashes each document and appends it to one of N bucket files, chosen by the hash;
    `gather_bucket` loads one bucket, where all copies of a text meet, sorts it by hash and writes its splits.
A Beam shuffle would do the same on a cluster, but the local runner holds every shuffled element in memory.
"""

import bisect
import hashlib
import itertools
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping

import pydantic
import tensorflow as tf

from modules.document_readers import Document
from modules.errors import InputError

BUCKET_BYTES = 16 * 2**20
MAX_BUCKETS = 4096
FLUSH_BYTES = 16 * 2**20

_DIGEST_BYTES = 32
_HEADER = struct.Struct(f">{_DIGEST_BYTES}sHI")  # digest, bytes of the source, bytes of the text
_MAX_SOURCE_BYTES = 2**16 - 1
# The lowest level: writing is three times as fast, and the files are only a little larger.
_COMPRESSION = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)


class BucketCounts(pydantic.BaseModel):
    """What became of the documents: kept ones and their text's bytes by split, and dropped copies."""

    documents: dict[str, int]
    bytes: dict[str, int]
    exact_duplicates_dropped: int = 0

    @classmethod
    def sum(cls, splits: Iterable[str], parts: Iterable["BucketCounts"]) -> "BucketCounts":
        """Adds the parts up; every split is named, if with 0."""
        total = cls(documents=dict.fromkeys(splits, 0), bytes=dict.fromkeys(splits, 0))
        for part in parts:
            for split in part.documents:
                total.documents[split] += part.documents[split]
                total.bytes[split] += part.bytes[split]
            total.exact_duplicates_dropped += part.exact_duplicates_dropped
        return total


def content_digest(text: str) -> bytes:
    """Returns the sha256 of the text as UTF-8: equal for exact duplicates only."""
    return hashlib.sha256(text.encode("utf-8")).digest()


def number_of_buckets(corpus_bytes: int) -> int:
    """Returns how many buckets keep each near `BUCKET_BYTES`, whatever the corpus's size."""
    return min(MAX_BUCKETS, max(1, -(-corpus_bytes // BUCKET_BYTES)))


def bucket_of(digest: bytes, buckets: int) -> int:
    """Returns the bucket from the digest's leading bits: bucket 0 holds the smallest digests, and so on."""
    return int.from_bytes(digest[:8], "big") * buckets >> 64


def split_of(digest: bytes, weights: Mapping[str, int]) -> str:
    """Returns the split of a document by its content alone, so that new documents never move old ones.

    `weights={"train": 18, "eval": 1, "test": 1}` gives train 90% of the documents. The digest's last bits
    decide, which are independent of the leading ones that choose the bucket.
    """
    bounds = list(itertools.accumulate(weights.values()))
    return list(weights)[bisect.bisect(bounds, int.from_bytes(digest[-8:], "big") % bounds[-1])]


def checked_weights(weights: object) -> dict[str, int]:
    """Returns the splits' shares, in the order given.

    Raises:
        InputError: They are not whole numbers above 0 by name, or `train` and `eval` are not among them.
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
        InputError: One is empty.
    """
    empty = [split for split in weights if not counts.documents.get(split)]
    if not empty:
        return
    total = sum(counts.documents.values())
    shares = ", ".join(f"{split} {weight}" for split, weight in weights.items())
    raise InputError(
        f"Every split needs at least one document, but {' and '.join(empty)} got none of the "
        f"{total} different documents (shares: {shares}). Received: {total} documents after dropping "
        f"{counts.exact_duplicates_dropped} duplicates. Add text, split .txt files into more documents with "
        f"`document_separator` (for example blank_line), or give the split a larger share."
    )


def scatter(documents: Iterable[Document], directory: str, *, writer: str, buckets: int) -> None:
    """Appends every document to its bucket's file.

    Args:
        documents: Is consumed as a stream; at most `FLUSH_BYTES` and one document are held.
        directory: Where `bucket-00000/<writer>` and so on are written; anything that tf.io.gfile can write.
        writer: Names this worker's own files, which a repeated attempt overwrites.
        buckets: From `number_of_buckets`, the same for all writers.
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
    text = document.text.encode("utf-8")
    source = document.source.encode("utf-8", "replace")[:_MAX_SOURCE_BYTES]
    return _HEADER.pack(hashlib.sha256(text).digest(), len(source), len(text)) + source + text


def _append(pending: Mapping[int, list[bytes]], directory: str, writer: str) -> None:
    for bucket, records in pending.items():
        folder = bucket_directory(directory, bucket)
        tf.io.gfile.makedirs(folder)
        with tf.io.gfile.GFile(os.path.join(folder, writer), "ab") as handle:
            handle.write(b"".join(records))


def bucket_directory(directory: str, bucket: int) -> str:
    """Returns the folder that holds one bucket, a file a writer."""
    return os.path.join(directory, f"bucket-{bucket:05d}")


def read_bucket(directory: str, bucket: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yields (digest, source, text) as bytes, of all writers."""
    for path in sorted(tf.io.gfile.glob(os.path.join(bucket_directory(directory, bucket), "*"))):
        with tf.io.gfile.GFile(path, "rb") as handle:
            content = handle.read()
        position = 0
        while position < len(content):
            digest, source_bytes, text_bytes = _HEADER.unpack_from(content, position)
            text_start = position + _HEADER.size + source_bytes
            position = text_start + text_bytes
            yield digest, content[text_start - source_bytes : text_start], content[text_start:position]


def gather_bucket(
    directory: str,
    bucket: int,
    *,
    weights: Mapping[str, int],
    shard_path: Callable[[str], str],
    on_document: Callable[[], None] = lambda: None,
) -> BucketCounts:
    """Drops one bucket's exact duplicates and writes what remains, sorted by hash, to a file a split.

    Sorting makes the result independent of the order in which the documents came, and as good as shuffled.
    Of equal texts the one with the alphabetically first source stays.

    Args:
        directory: What `scatter` wrote to.
        bucket: From 0 on.
        weights: Each split's share, see `split_of`.
        shard_path: Maps a split to this bucket's gzip TFRecord file of tf.Example; made only if needed.
        on_document: Is called for every document that is kept.
    """
    counts = BucketCounts(documents={}, bytes={})
    writers: dict[str, tf.io.TFRecordWriter] = {}
    previous = b""
    try:
        for digest, source, text in sorted(read_bucket(directory, bucket)):
            if digest == previous:
                counts.exact_duplicates_dropped += 1
                continue
            previous = digest
            split = split_of(digest, weights)
            if split not in writers:
                writers[split] = tf.io.TFRecordWriter(shard_path(split), _COMPRESSION)
            writers[split].write(serialized_example(text, source))
            counts.documents[split] = counts.documents.get(split, 0) + 1
            counts.bytes[split] = counts.bytes.get(split, 0) + len(text)
            on_document()
    finally:
        for shard in writers.values():
            shard.close()
    return counts


def serialized_example(text: bytes, source: bytes) -> bytes:
    """Returns a tf.Example with the features `text` and `source`, one UTF-8 value each."""
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in (("text", text), ("source", source))
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)
