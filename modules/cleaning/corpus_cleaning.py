"""Comparisons between documents of different buckets: near duplicates, and held-out text in the train split.

The processes of a job call these functions. The functions pass results to each other in files in the buckets' folder:
    `HeldOutCollector`, while the corpus is read, writes the runs of words of the eval and test documents;
    `collect_held_out`, once for the corpus, combines them;
    `study_bucket`, once per bucket, writes the documents as records, with their signatures and held-out runs;
    `decide`, once for the corpus, writes which documents are near duplicates or leaked;
    `write_bucket`, once per bucket, writes the records of the other documents to one file per split.
"""

import mmap
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from modules.cleaning import near_duplicates
from modules.cleaning.bucket_tables import BucketTable, load_array, save_array, write_records, write_shards
from modules.cleaning.buckets import (
    TRAIN,
    BucketCounts,
    StoredDocument,
    answer,
    split_of,
    split_order,
    unique_documents,
)
from modules.cleaning.decontamination import HeldOutDocuments
from modules.cleaning.filters import CleaningSettings
from modules.cleaning.leakage import NGRAM, HeldOutNgrams, without_repetitions
from modules.cleaning.word_ngrams import batches, ngram_hashes_of, word_hashes_of
from modules.data.documents import Document
from modules.data.example_encoding import record_frame
from modules.data.examples import serialized_example

# Reasons that count documents in two splits, like `buckets.IN_TWO_SPLITS` and "leaked".
NEAR_IN_TWO_SPLITS, CONTAINS_HELD_OUT = "near_duplicate_in_two_splits", "contains_held_out"
_NEAR_DUPLICATE, _LEAKED, _NEAR_IN_TWO_SPLITS, _CONTAINS_HELD_OUT = 1, 2, 3, 4
_DROP_REASONS = {
    _NEAR_DUPLICATE: "near_duplicate",
    _LEAKED: "leaked",
    _NEAR_IN_TWO_SPLITS: NEAR_IN_TWO_SPLITS,
    _CONTAINS_HELD_OUT: CONTAINS_HELD_OUT,
}
_HELD_OUT = "held-out"
_ALL_SPLITS = -1


class HeldOutCollector:
    """Collector of the runs of words of the eval and test documents that one process reads."""

    def __init__(self, weights: Mapping[str, int]):
        """Creates a collector without runs; the weights are those of the splits."""
        self._weights = weights
        self._answers: list[str] = []
        self._characters = 0
        self._runs: list[np.ndarray] = [np.empty(0, np.uint64)]

    def add(self, digest: bytes, document: Document) -> None:
        """Adds a document if it is held out."""
        if (document.split or split_of(document.group or digest, self._weights)) == TRAIN:
            return
        self._answers.append(answer(document.features, document.content))
        self._characters += len(self._answers[-1])
        if self._characters >= 2**20:
            self._hash()

    def save(self, directory: str, writer: str) -> None:
        """Writes the runs to the file of a writer."""
        self._hash()
        save_array(directory, f"{_HELD_OUT}-{writer}", without_repetitions(np.concatenate(self._runs)))

    def _hash(self) -> None:
        self._runs.append(ngram_hashes_of(*word_hashes_of(self._answers), NGRAM)[0])
        self._answers, self._characters = [], 0


def collect_held_out(directory: str, writers: Sequence[str]) -> None:
    """Combines the runs of all held-out documents in one file, for `study_bucket`."""
    parts = [load_array(directory, f"{_HELD_OUT}-{writer}") for writer in writers]
    save_array(directory, _HELD_OUT, without_repetitions(np.concatenate(parts)))


def read_held_out(directory: str) -> HeldOutNgrams:
    """Returns what `collect_held_out` wrote; this takes 10 bytes of memory per held-out word."""
    return HeldOutNgrams(load_array(directory, _HELD_OUT))


def study_bucket(
    directory: str,
    bucket: int,
    *,
    weights: Mapping[str, int],
    settings: CleaningSettings,
    held_out: HeldOutNgrams | None,
    sources: Sequence[str] = (),
    on_document: Callable[[], None] = lambda: None,
) -> BucketCounts:
    """Writes the records, the table and the signatures of one bucket.

    Args:
        directory: Folder of the buckets.
        bucket: Number of the bucket.
        weights: Each split's share, see `split_of`.
        settings: Settings of the cleaning.
        held_out: The runs of all held-out documents, from `read_held_out`; None if leakage is not measured.
        sources: Names of the sources whose documents are counted.
        on_document: Called for each of the bucket's documents.

    Returns:
        The number of exact duplicates.
    """
    counts = BucketCounts.zero()
    study = _Study(directory, weights, settings, held_out, sources)
    documents = unique_documents(directory, bucket, counts, weights=weights, drop_from=settings.drop_leaked_from)

    def frames() -> Iterator[list[bytes]]:
        for batch in batches(documents, lambda document: len(document.content)):
            frames = [record_frame(serialized_example(item.features, item.content, item.source)) for item in batch]
            study.add(batch, frames)
            yield frames
            for _ in batch:
                on_document()

    write_records(directory, bucket, frames())
    study.write(bucket)
    return counts


class _Study:
    """Table and signatures of one bucket's documents, batch by batch."""

    def __init__(
        self,
        directory: str,
        weights: Mapping[str, int],
        settings: CleaningSettings,
        held_out: HeldOutNgrams | None,
        sources: Sequence[str],
    ):
        self._directory = directory
        self._weights = weights
        self._numbers = {split: number for number, split in enumerate(weights)}
        self._sources = {name: number for number, name in enumerate(sources, start=1)}
        self._signs = settings.near_duplicates is not None
        self._held_out = held_out
        self._tables: list[BucketTable] = []
        self._signatures: list[np.ndarray] = []
        self.add([], [])  # a bucket may be empty

    def add(self, documents: Sequence[StoredDocument], frames: Sequence[bytes]) -> None:
        """Adds a batch of documents and their records."""
        contents = [document.content for document in documents]
        words, word_counts = word_hashes_of(contents)
        # Without the search for near duplicates no document has enough words.
        signatures, has_signature = near_duplicates.signatures(words, word_counts if self._signs else word_counts * 0)
        ngrams, found, places = self._find(documents, words, word_counts)
        self._signatures.append(signatures)
        self._tables.append(
            BucketTable(
                splits=np.array([self._numbers[document.split(self._weights)] for document in documents], np.uint8),
                keys=np.array([int.from_bytes(document.split_key, "big") for document in documents], np.uint64),
                sources=np.array([self._sources.get(document.source, 0) for document in documents], np.uint16),
                frame_bytes=np.array([len(frame) for frame in frames], np.int64),
                text_bytes=np.array([_text_bytes(document.features) for document in documents], np.int64),
                has_signature=has_signature,
                ngrams=ngrams,
                found=found,
                places=places,
            )
        )

    def write(self, bucket: int) -> None:
        """Writes the table and the signatures of the bucket."""
        BucketTable.joined(self._tables).write(self._directory, bucket)
        save_array(self._directory, f"signatures-{bucket:05d}", np.concatenate(self._signatures))

    def _find(
        self, documents: Sequence[StoredDocument], words: np.ndarray, word_counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the columns `ngrams`, `found` and `places` of the table."""
        if self._held_out is None:
            zeros = np.zeros(len(documents), np.int64)
            return zeros, zeros, np.empty(0, np.int64)
        if any("completion" in document.features for document in documents):
            words, word_counts = word_hashes_of([document.answer for document in documents])
        hashes, ngrams = ngram_hashes_of(words, word_counts, NGRAM)
        indices, places = self._held_out.find(hashes)
        found = np.bincount(np.searchsorted(np.cumsum(ngrams), indices, "right"), minlength=len(documents))
        return ngrams, found, places


def decide(
    directory: str,
    buckets: int,
    settings: CleaningSettings,
    weights: Mapping[str, int],
    *,
    splits_are_given: bool = False,
) -> None:
    """Decides for the whole corpus which documents are dropped, and writes it for `write_bucket`.

    The signatures are read from a file, so that memory grows by only tens of bytes per document.

    Args:
        directory: Folder of the buckets.
        buckets: Number of buckets.
        settings: Settings of the cleaning.
        weights: Each split's share.
        splits_are_given: Whether files or a column give splits. Then, or if `drop_leaked_from` is train, near
            duplicates are dropped from the split that `drop_leaked_from` names; otherwise the first document by hash
            is kept, so that splits do not matter.
    """
    drops = [np.zeros(len(BucketTable.read(directory, bucket).splits), np.uint8) for bucket in range(buckets)]
    names = list(weights)
    if settings.near_duplicates is not None:
        in_order = splits_are_given or settings.drop_leaked_from == TRAIN
        order = [names.index(split) for split in split_order(weights, settings.drop_leaked_from)] if in_order else []
        _find_near_duplicates(directory, drops, settings.near_duplicates, order)
    if settings.leakage is not None:
        train = names.index(TRAIN)
        if settings.drop_leaked_from == TRAIN:
            _find_containing(directory, drops, settings.leakage, train)
        _find_leaks(directory, drops, settings.leakage, train)
    for bucket, codes in enumerate(drops):
        save_array(directory, f"drops-{bucket:05d}", codes)


def _find_near_duplicates(directory: str, drops: Sequence[np.ndarray], threshold: float, order: Sequence[int]) -> None:
    """Sets the code of each document that is a near duplicate of an earlier document.

    Args:
        directory: Folder of the buckets.
        drops: The codes of each bucket's documents.
        threshold: See `find_near_duplicates`.
        order: Numbers of the splits; documents of an earlier split come first. Empty: splits do not matter.
    """
    rows: list[tuple[int, np.ndarray]] = []  # bucket, and the places of its documents
    splits = [np.empty(0, np.uint8)]
    with tempfile.NamedTemporaryFile() as file:
        for split in order or [_ALL_SPLITS]:
            for bucket in range(len(drops)):
                table = BucketTable.read(directory, bucket)
                signed = np.flatnonzero(table.has_signature)
                chosen = np.ones(len(signed), bool) if split == _ALL_SPLITS else table.splits[signed] == split
                load_array(directory, f"signatures-{bucket:05d}")[chosen].tofile(file)
                rows.append((bucket, signed[chosen]))
                splits.append(table.splits[signed[chosen]])
        file.flush()
        of_rows = np.concatenate(splits)
        if not len(of_rows):
            return
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        signatures = np.frombuffer(mapped, np.uint32).reshape(-1, near_duplicates.NUM_PERM)
        # The pages of a mapped file count as this process's memory until they are given back.
        firsts = near_duplicates.first_of_each(
            signatures, threshold, release=lambda: mapped.madvise(mmap.MADV_DONTNEED)
        )
    codes = np.where(firsts == np.arange(len(firsts)), 0, _NEAR_DUPLICATE).astype(np.uint8)
    if order:
        codes[of_rows[firsts] != of_rows] = _NEAR_IN_TWO_SPLITS
    parts = np.split(codes, np.cumsum([len(places) for _, places in rows])[:-1])
    for (bucket, places), part in zip(rows, parts, strict=True):
        drops[bucket][places] = part


def _find_containing(directory: str, drops: Sequence[np.ndarray], limit: float, train: int) -> None:
    """Sets the code of each other train document that contains too large a part of a held-out document."""
    ngrams, documents, places = [], [], []
    for bucket, codes in enumerate(drops):
        table = BucketTable.read(directory, bucket)
        held_out = (table.splits != train) & (codes == 0) & (table.ngrams > 0)
        ngrams.append(table.ngrams[held_out])
        documents.append(np.repeat(np.cumsum(held_out) - 1, table.found * held_out) + sum(map(len, ngrams[:-1])))
        places.append(table.places_of(held_out))
    held_out_documents = HeldOutDocuments(
        ngrams=np.concatenate(ngrams), documents=np.concatenate(documents), places=np.concatenate(places)
    )
    for bucket, codes in enumerate(drops):
        table = BucketTable.read(directory, bucket)
        ends = np.cumsum(table.found)
        for number in np.flatnonzero((table.splits == train) & (codes == 0) & (table.found > 0)).tolist():
            found = table.places[ends[number] - table.found[number] : ends[number]]
            if held_out_documents.largest_share(found) >= limit:
                codes[number] = _CONTAINS_HELD_OUT


def _find_leaks(directory: str, drops: Sequence[np.ndarray], limit: float, train: int) -> None:
    """Sets the code of each other held-out document that shares too many runs of words with the train split."""
    marks = np.zeros(len(load_array(directory, _HELD_OUT)), bool)
    for bucket, codes in enumerate(drops):
        table = BucketTable.read(directory, bucket)
        marks[table.places_of((table.splits == train) & (codes == 0))] = True
    for bucket, codes in enumerate(drops):
        table = BucketTable.read(directory, bucket)
        overlap = table.marked(marks) / np.maximum(table.ngrams, 1)
        codes[(table.splits != train) & (codes == 0) & (overlap >= limit)] = _LEAKED


def write_bucket(
    directory: str,
    bucket: int,
    *,
    splits: Sequence[str],
    sources: Sequence[str] = (),
    shard_path: Callable[[str], str],
    on_document: Callable[[], None] = lambda: None,
) -> BucketCounts:
    """Writes the documents of one bucket that `decide` keeps, see `write_shards`; returns their counts."""
    return write_shards(
        directory,
        bucket,
        splits=splits,
        sources=sources,
        drop_codes=load_array(directory, f"drops-{bucket:05d}"),
        drop_reasons=_DROP_REASONS,
        shard_path=shard_path,
        on_document=on_document,
    )


def kept_split_keys(directory: str, buckets: int) -> set[int]:
    """Returns the keys that decide the splits of the documents that `decide` keeps, see `split_of`."""
    keys: set[int] = set()
    for bucket in range(buckets):
        kept = load_array(directory, f"drops-{bucket:05d}") == 0
        keys.update(BucketTable.read(directory, bucket).keys[kept].tolist())
    return keys


def _text_bytes(features: Mapping[str, list[str]]) -> int:
    return sum(
        len(text) if text.isascii() else len(text.encode("utf-8")) for texts in features.values() for text in texts
    )
