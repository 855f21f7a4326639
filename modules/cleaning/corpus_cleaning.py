"""Comparisons between documents of different buckets: near duplicates, and held-out text in the train split.

Beam workers call these functions. The functions pass results to each other in small files in the buckets' folder:
    `study_bucket`, once per bucket, writes MinHash signatures and the n-grams of held-out documents;
    `resolve_near_duplicates` and `collect_held_out`, once for the corpus, combine these files;
    `NearDuplicates` and `Leakage` give the decisions to `write_bucket`, which drops documents.
"""

import io
import os
import tempfile
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from modules.cleaning import near_duplicates
from modules.cleaning.buckets import TRAIN, StoredDocument, split_of, unique_documents
from modules.cleaning.filters import CleaningSettings
from modules.cleaning.leakage import HeldOutNgrams, leakage_ngrams


def study_bucket(
    directory: str,
    bucket: int,
    *,
    weights: Mapping[str, int],
    settings: CleaningSettings,
    on_document: Callable[[], None] = lambda: None,
) -> None:
    """Writes the signatures and the held-out n-grams of one bucket; calls `on_document` for each of its documents."""
    rows, positions, held_out = [], [], [np.empty(0, np.uint64)]
    for document in unique_documents(directory, bucket):
        on_document()
        if settings.near_duplicates is not None:
            row = near_duplicates.signature(document.content)
            if row is not None:
                rows.append(row)
                positions.append(document.position)
        if settings.leakage is not None and split_of(document.digest, weights) != TRAIN:
            held_out.append(leakage_ngrams(document.answer))
    signatures = np.stack(rows) if rows else np.empty((0, near_duplicates.NUM_PERM), np.uint32)
    _save(_path(directory, "signatures", bucket), signatures)
    _save(_path(directory, "positions", bucket), np.array(positions, np.int64))
    _save(_path(directory, "held-out", bucket), np.unique(np.concatenate(held_out)))


def resolve_near_duplicates(directory: str, buckets: int, threshold: float) -> None:
    """Decides for the whole corpus which documents are near duplicates of an earlier document, and writes them.

    The signatures are read from a file, so that memory grows by only tens of bytes per document.
    """
    with tempfile.NamedTemporaryFile() as file:
        counts = []
        for bucket in range(buckets):
            signatures = _load(_path(directory, "signatures", bucket))
            counts.append(len(signatures))
            signatures.tofile(file)
        file.flush()
        if not sum(counts):
            return
        shape = (sum(counts), near_duplicates.NUM_PERM)
        dropped = near_duplicates.find_near_duplicates(np.memmap(file.name, np.uint32, "r", shape=shape), threshold)
    for bucket, part in enumerate(np.split(dropped, np.cumsum(counts)[:-1])):
        _save(_path(directory, "near-duplicates", bucket), _load(_path(directory, "positions", bucket))[part])


class NearDuplicates:
    """The near duplicates of one bucket, as `resolve_near_duplicates` wrote them."""

    def __init__(self, directory: str, bucket: int):
        path = _path(directory, "near-duplicates", bucket)
        self._positions = set(_load(path).tolist()) if tf.io.gfile.exists(path) else set()

    def __contains__(self, document: StoredDocument) -> bool:
        return document.position in self._positions


def collect_held_out(directory: str, buckets: int) -> None:
    """Combines the n-grams of all held-out documents in one file, which `Leakage` reads."""
    parts = [_load(_path(directory, "held-out", bucket)) for bucket in range(buckets)]
    _save(_path(directory, "all-held-out"), np.unique(np.concatenate(parts)))


class Leakage:
    """The held-out n-grams that occur in the train split: they are marked bucket by bucket, then looked up."""

    def __init__(self, directory: str):
        """Reads the file of `collect_held_out`; this takes 9 bytes of memory per held-out word."""
        self._directory = directory
        self._known = HeldOutNgrams(_load(_path(directory, "all-held-out")))

    def mark(self, document: StoredDocument) -> None:
        """Marks the n-grams of a train document."""
        self._known.mark(document.answer)

    def save_marks(self, bucket: int) -> None:
        """Writes the marks since the last call to the file of a bucket, and clears them."""
        _save(_path(self._directory, "marks", bucket), np.flatnonzero(self._known.marks))
        self._known.marks[:] = False

    def load_marks(self, buckets: int) -> None:
        """Adds the marks that the workers of all buckets saved."""
        for bucket in range(buckets):
            self._known.marks[_load(_path(self._directory, "marks", bucket))] = True

    def overlap(self, document: StoredDocument) -> float:
        """Returns the share (0 to 1) of a held-out document's n-grams that occur in the train split."""
        return self._known.overlap(document.answer)


def _path(directory: str, kind: str, bucket: int | None = None) -> str:
    return os.path.join(directory, kind if bucket is None else f"{kind}-{bucket:05d}") + ".npy"


def _save(path: str, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(buffer.getvalue())


def _load(path: str) -> np.ndarray:
    with tf.io.gfile.GFile(path, "rb") as file:
        return np.load(io.BytesIO(file.read()), allow_pickle=False)
