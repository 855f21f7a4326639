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
from typing import Literal, TypeAlias

import pydantic
from etils import epath

from modules.common.errors import InputError
from modules.data.documents import Document, add_up
from modules.data.examples import WEIGHT
from modules.data.source import SPLITS

TRAIN = "train"
# Reasons for which copies are dropped.
EXACT, IN_TWO_SPLITS = "exact_duplicate", "in_two_splits"
DropFrom = Literal["held_out", "train"]
BUCKET_BYTES = 16 * 2**20
MAX_BUCKETS = 4096
FLUSH_BYTES = 16 * 2**20

_DIGEST_BYTES = 32
# Digest, number of the given split, key of the hash's split, bytes of the source, bytes of the payload.
_HEADER = struct.Struct(f">{_DIGEST_BYTES}sB8sHI")
_GIVEN_SPLITS = ("", *SPLITS)
_MAX_SOURCE_BYTES = 2**16 - 1
_JSON = json.JSONDecoder()
# Rank of the split if there are copies, else -1; number of the given split, key, source, payload.
_Copy: TypeAlias = tuple[int, int, bytes, bytes, bytes]


class BucketCounts(pydantic.BaseModel):
    """Numbers of kept documents and of their texts' bytes by split, and of dropped documents by reason.

    `train_by_source` counts the kept documents of the train split by the name of their source.
    """

    documents: dict[str, int]
    bytes: dict[str, int]
    dropped: dict[str, int]
    train_by_source: dict[str, int] = {}

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
        add_up(self.train_by_source, counts.train_by_source)


@dataclasses.dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document in a bucket.

    Attributes:
        position: Its number among the bucket's different documents, from 0.
        digest: SHA-256 of its features and content.
        given_split: The split that files or a column give it; "": the key decides.
        split_key: The end of the hash that decides the split: its own, or that of the document that it is a part of.
        source: Name of its source.
        features: The tf.Example's features by name.
        content: The part that a person wrote.
    """

    position: int
    digest: bytes
    given_split: str
    split_key: bytes
    source: str
    features: Mapping[str, list[str]]
    content: str

    def split(self, weights: Mapping[str, int]) -> str:
        """Returns the document's split."""
        return self.given_split or split_of(self.split_key, weights)

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
    are independent of the first bits, which select the bucket. The last 8 bytes are enough.
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


def split_order(weights: Mapping[str, int], drop_from: DropFrom) -> list[str]:
    """Returns the splits; of two copies, that in the earlier split is kept."""
    return sorted(weights, key=lambda split: (split == TRAIN) == (drop_from == TRAIN))


def unique_documents(
    directory: str,
    bucket: int,
    counts: BucketCounts | None = None,
    *,
    weights: Mapping[str, int] | None = None,
    drop_from: DropFrom = "held_out",
) -> Iterator[StoredDocument]:
    """Yields one bucket's different documents, sorted by hash, and counts the dropped copies.

    Sorting by hash makes the result independent of the documents' original order, and it works like shuffling. Among
    equal documents in one split, the document with the alphabetically first source is kept.

    Args:
        directory: Folder of the buckets.
        bucket: Number of the bucket.
        counts: Gets the numbers of the dropped copies: `exact_duplicate`, and `in_two_splits` if a copy in another
            split is kept.
        weights: Each split's share, see `split_of`; None if no document's split is given.
        drop_from: The splits from which copies are dropped, see `split_order`.
    """
    kept: dict[bytes, _Copy] = {}
    order = split_order(weights, drop_from) if weights else []
    copies: dict[bytes, list[int]] = {}  # the splits of the dropped copies, as numbers in `order`
    for path in sorted(bucket_directory(directory, bucket).glob("*")):
        for digest, given, key, source, payload in _unpacked(path.read_bytes()):
            first = kept.get(digest)
            if first is None:
                kept[digest] = (-1, given, key, source, payload)
                continue
            ranks = [
                order.index(_GIVEN_SPLITS[copy[0]] or split_of(copy[1], weights)) if weights else 0
                for copy in (first[1:], (given, key))
            ]
            ranked = [(ranks[0], *first[1:]), (ranks[1], given, key, source, payload)]
            kept[digest] = min(ranked, key=lambda copy: (copy[0], copy[3], copy[4], copy[2]))
            copies.setdefault(digest, []).append(max(ranks))
    if counts and copies:
        _count_copies(counts, kept, copies)
    for position, (digest, (_, given, key, source, payload)) in enumerate(sorted(kept.items())):
        yield _stored_document(position, digest, given, key, source, payload)


def _count_copies(counts: BucketCounts, kept: Mapping[bytes, "_Copy"], copies: Mapping[bytes, Sequence[int]]) -> None:
    in_two = sum(rank != kept[digest][0] for digest, ranks in copies.items() for rank in ranks)
    same = sum(map(len, copies.values())) - in_two
    add_up(counts.dropped, {name: number for name, number in ((EXACT, same), (IN_TWO_SPLITS, in_two)) if number})


def _packed(digest: bytes, document: Document, payload: bytes) -> bytes:
    """Returns a document as bytes for the file of a bucket; `_unpacked` and `_stored_document` read them."""
    source = document.source.encode("utf-8", "replace")[:_MAX_SOURCE_BYTES]
    given = _GIVEN_SPLITS.index(document.split)
    key = (document.group or digest)[-8:]
    return b"".join((_HEADER.pack(digest, given, key, len(source), len(payload)), source, payload))


def _unpacked(content: bytes) -> Iterator[tuple[bytes, int, bytes, bytes, bytes]]:
    """Yields (digest, number of the given split, key, source, payload) of each document in the file of a bucket."""
    position = 0
    while position < len(content):
        digest, given, key, source_bytes, payload_bytes = _HEADER.unpack_from(content, position)
        payload_start = position + _HEADER.size + source_bytes
        position = payload_start + payload_bytes
        yield digest, given, key, content[payload_start - source_bytes : payload_start], content[payload_start:position]


def _stored_document(
    position: int, digest: bytes, given: int, key: bytes, source: bytes, payload: bytes
) -> StoredDocument:
    features, content = _JSON.raw_decode(payload.decode("utf-8"))[0]
    if content is None:
        content = features["text"][0]
    return StoredDocument(
        position, digest, _GIVEN_SPLITS[given], key, source.decode("utf-8", "replace"), features, content
    )
