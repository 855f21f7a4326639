"""A cleaning job: its settings, and the steps that several processes share, a piece of work at a time.

The steps are `read` (a number is that of a piece of the corpus), `study` and `write` (a number is that of a bucket).
Between them, one process combines what the others found. This module does not import TensorFlow: with files on this
machine, each process starts in a second and takes 0.2 GB. With URLs such as gs://, each process imports TensorFlow.
"""

import base64
import dataclasses
import functools
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from modules.cleaning import buckets, corpus_cleaning
from modules.cleaning.filters import CleaningSettings, keep_documents
from modules.cleaning.leakage import HeldOutNgrams
from modules.common import worker_pool
from modules.data import corpus
from modules.data.bad_rows import rejected_path
from modules.data.corpus import WorkPiece
from modules.data.documents import Document, ReadCounts

Step = Literal["read", "study", "write"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CleaningJob:
    """Settings of a job, the same for all its processes.

    Attributes:
        directory: Folder of the buckets, a path or a URL such as `gs://bucket/path`.
        pieces: Pieces of the corpus.
        buckets: Number of buckets.
        weights: Weight of each split.
        settings: Settings of the cleaning.
        folders: Folder of each split's files.
    """

    directory: str
    pieces: tuple[WorkPiece, ...]
    buckets: int
    weights: dict[str, int]
    settings: CleaningSettings
    folders: dict[str, str]

    @property
    def sources(self) -> list[str]:
        """Names of the named sources."""
        return list(dict.fromkeys(piece.source.name for piece in self.pieces if piece.source.name is not None))

    @property
    def splits_are_given(self) -> bool:
        """True if files or a column give splits of documents."""
        return any(piece.source.split or piece.source.split_column for piece in self.pieces)

    def request(self) -> str:
        """Returns the job as one line of text, from which `main` starts a worker."""
        return base64.b64encode(pickle.dumps(self)).decode("ascii")


class Steps:
    """The steps of one process of a job."""

    def __init__(self, job: CleaningJob):
        """Creates the steps; nothing is read yet."""
        self._job = job

    def run(self, step: Step, number: int, on_document: Callable[[], None]) -> dict[str, Any]:
        """Runs a step on a piece of work; returns its counts by name, as JSON can hold them.

        Raises:
            InputError: A piece of the corpus cannot be read.
        """
        return getattr(self, f"_{step}")(number, on_document)

    def _read(self, number: int, on_document: Callable[[], None]) -> dict[str, Any]:
        job, piece = self._job, self._job.pieces[number]
        counts = ReadCounts()
        documents = corpus.read(piece, counts, rejected_path(job.directory, piece.name))
        held_out = corpus_cleaning.HeldOutCollector(job.weights)
        buckets.scatter(
            _metered(keep_documents(documents, job.settings, counts), on_document),
            job.directory,
            writer=piece.name,
            buckets=job.buckets,
            on_document=held_out.add if job.settings.leakage is not None else lambda digest, document: None,
        )
        held_out.save(job.directory, piece.name)
        return counts.as_dict()

    def _study(self, number: int, on_document: Callable[[], None]) -> dict[str, Any]:
        job = self._job
        counts = corpus_cleaning.study_bucket(
            job.directory,
            number,
            weights=job.weights,
            settings=job.settings,
            held_out=self._held_out if job.settings.leakage is not None else None,
            sources=job.sources,
            on_document=on_document,
        )
        return counts.model_dump()

    def _write(self, number: int, on_document: Callable[[], None]) -> dict[str, Any]:
        job = self._job
        name = f"data_tfrecord-{number:05d}-of-{job.buckets:05d}.gz"
        counts = corpus_cleaning.write_bucket(
            job.directory,
            number,
            splits=list(job.weights),
            sources=job.sources,
            shard_path=lambda split: os.path.join(job.folders[split], name),
            on_document=on_document,
        )
        return counts.model_dump()

    @functools.cached_property
    def _held_out(self) -> HeldOutNgrams:
        return corpus_cleaning.read_held_out(self._job.directory)


def main(request: str) -> None:
    """Works for a `WorkerPool` on the job of a request."""
    worker_pool.serve(request, lambda job: Steps(pickle.loads(base64.b64decode(job))).run)


def _metered(documents: Iterable[Document], on_document: Callable[[], None]) -> Iterator[Document]:
    for document in documents:
        on_document()
        yield document
