"""Removal of exact duplicates, and splits by content, for corpora of any size in bounded memory.

The processes of a job call these plain functions:
    `scatter` hashes each document and appends it to the file of the bucket that its hash selects;
    `unique_documents` loads one bucket, which holds all copies of a document, and sorts it by hash.
Then `modules.cleaning.corpus_cleaning` finds near duplicates and leaks and writes the examples. On a cluster, a Beam
shuffle would do the same work, but Beam's local runner holds every shuffled element in memory.
"""

import bisect
import dataclasses
import hashlib
import itertools
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pydantic
from etils import epath

from modules.common.errors import InputError
from modules.data.documents import Document, add_up
from modules.data.examples import WEIGHT

TRAIN = "train"
BUCKET_BYTES = 16 * 2**20
MAX_BUCKETS = 4096
FLUSH_BYTES = 16 * 2**20

_DIGEST_BYTES = 32
_HEADER = struct.Struct(f">{_DIGEST_BYTES}sHI")  # digest, bytes of the source, bytes of the payload
_MAX_SOURCE_BYTES = 2**16 - 1
_JSON = json.JSONDecoder()


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
        """The text that a model learns to write, see `answer`."""
        return answer(self.features, self.content)


def answer(features: Mapping[str, Sequence[str]], content: str) -> str:
    """Returns the text that a model learns to write: the completions that count in the loss, or else the content."""
    if "completion" not in features:
        return content
    completions = features["completion"]
    weights = features.get(WEIGHT, ["1"] * len(completions))
    return "\n".join(text for text, weight in zip(completions, weights, strict=True) if weight != "0")


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


def scatter(
    documents: Iterable[Document],
    directory: str,
    *,
    writer: str,
    buckets: int,
    on_document: Callable[[bytes, Document], None] = lambda digest, document: None,
) -> None:
    """Appends every document to the file of its bucket.

    Args:
        documents: Read as a stream; at most `FLUSH_BYTES` and one document are in memory.
        directory: Folder for the files `bucket-00000/<writer>` and so on; a path or a URL such as `gs://bucket/path`.
        writer: Name of this worker's own files, which a repeated attempt overwrites.
        buckets: Number of buckets from `number_of_buckets`, the same for all writers.
        on_document: Called with each document and its digest.
    """
    for stale in epath.Path(directory).glob(f"bucket-*/{writer}"):
        stale.unlink()
    pending: dict[int, list[bytes]] = {}
    pending_bytes = 0
    for document in documents:
        payload = document.payload()
        digest = hashlib.sha256(payload).digest()
        on_document(digest, document)
        record = _packed(digest, document, payload)
        pending.setdefault(bucket_of(digest, buckets), []).append(record)
        pending_bytes += len(record)
        if pending_bytes >= FLUSH_BYTES:
            _append(pending, directory, writer)
            pending, pending_bytes = {}, 0
    _append(pending, directory, writer)


def _append(pending: Mapping[int, list[bytes]], directory: str, writer: str) -> None:
    for bucket, records in pending.items():
        folder = bucket_directory(directory, bucket)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / writer).open("ab") as file:
            file.write(b"".join(records))


def bucket_directory(directory: str, bucket: int) -> epath.Path:
    """Returns the folder that holds one bucket, with one file per writer."""
    return epath.Path(directory) / f"bucket-{bucket:05d}"


def remove_bucket(directory: str, bucket: int) -> None:
    """Removes the files of one bucket, which may be empty."""
    folder = bucket_directory(directory, bucket)
    if folder.exists():
        folder.rmtree()


def unique_documents(directory: str, bucket: int, counts: BucketCounts | None = None) -> Iterator[StoredDocument]:
    """Yields one bucket's different documents, sorted by hash, and counts the dropped copies.

    Sorting by hash makes the result independent of the documents' original order, and it works like shuffling. Among
    equal documents, the document with the alphabetically first source is kept.
    """
    kept: dict[bytes, tuple[bytes, bytes]] = {}
    copies = 0
    for path in sorted(bucket_directory(directory, bucket).glob("*")):
        for digest, source, payload in _unpacked(path.read_bytes()):
            first = kept.get(digest)
            if first is None:
                kept[digest] = (source, payload)
                continue
            kept[digest] = min(first, (source, payload))
            copies += 1
    if counts and copies:
        add_up(counts.dropped, {"exact_duplicate": copies})
    for position, (digest, (source, payload)) in enumerate(sorted(kept.items())):
        yield _stored_document(position, digest, source, payload)


def _packed(digest: bytes, document: Document, payload: bytes) -> bytes:
    """Returns a document as bytes for the file of a bucket; `_unpacked` and `_stored_document` read them."""
    source = document.source.encode("utf-8", "replace")[:_MAX_SOURCE_BYTES]
    return b"".join((_HEADER.pack(digest, len(source), len(payload)), source, payload))


def _unpacked(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yields (digest, source, payload) of each document in the file of a bucket."""
    position = 0
    while position < len(content):
        digest, source_bytes, payload_bytes = _HEADER.unpack_from(content, position)
        payload_start = position + _HEADER.size + source_bytes
        position = payload_start + payload_bytes
        yield digest, content[payload_start - source_bytes : payload_start], content[payload_start:position]


def _stored_document(position: int, digest: bytes, source: bytes, payload: bytes) -> StoredDocument:
    features, content = _JSON.raw_decode(payload.decode("utf-8"))[0]
    if content is None:
        content = features["text"][0]
    return StoredDocument(position, digest, source.decode("utf-8", "replace"), features, content)
