"""A corpus cut into pieces that workers read independently: groups of files, slices of a TFDS split."""

import dataclasses
import os
from collections.abc import Iterator

from modules.data import corpus
from modules.data.corpus import DataSource
from modules.data.data_files import TEXT_KINDS, file_kind
from modules.data.documents import Document, ReadCounts

PIECE_BYTES = 64 * 2**20
# More would make many small files: each piece writes one to every bucket.
MAX_PIECES = 64
# How much larger text is than the compressed file that holds it, roughly.
_EXPANSION = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkPiece:
    """What one worker reads at a time.

    Attributes:
        name: Unique in the corpus, e.g. `piece-00003`.
        source: Says how to read it.
        data_directory: Where TFDS's datasets lie.
        files: (path, name for the documents' `source`); empty for TFDS.
        tfds_slice: E.g. `"train[0:50000]"`; empty for files.
        size_bytes: About how much text it holds.
    """

    name: str
    source: DataSource
    data_directory: str
    files: tuple[tuple[str, str], ...] = ()
    tfds_slice: str = ""
    size_bytes: int


def plan(source: DataSource, data_directory: str) -> list[WorkPiece]:
    """Prepares a TFDS dataset where needed and cuts the corpus into pieces.

    Raises:
        InputError: No file matches, or the dataset is unknown or cannot be prepared.
    """
    return _plan_tfds(source, data_directory) if source.tfds else _plan_files(source, data_directory)


def read(piece: WorkPiece, counts: ReadCounts) -> Iterator[Document]:
    """Streams the piece's documents; adds to `counts` what is dropped on the way.

    Raises:
        InputError: A file cannot be read as what it claims to be.
    """
    if piece.tfds_slice:
        from modules.data import tfds_documents

        yield from tfds_documents.read_slice(piece.source, piece.data_directory, piece.tfds_slice, counts)
    for path, name in piece.files:
        yield from corpus.read_documents(path, piece.source, name=name, counts=counts)


def _plan_tfds(source: DataSource, data_directory: str) -> list[WorkPiece]:
    from modules.data import tfds_documents

    builder = tfds_documents.prepare(source, data_directory)
    slices = tfds_documents.slices(source, builder)
    examples = max(1, sum(split.num_examples for split in builder.info.splits.values()))
    return [
        WorkPiece(
            name=f"piece-{number:05d}",
            source=source,
            data_directory=data_directory,
            tfds_slice=name,
            size_bytes=builder.info.dataset_size * count // examples,
        )
        for number, (name, count) in enumerate(slices)
    ]


def _plan_files(source: DataSource, data_directory: str) -> list[WorkPiece]:
    names = corpus.relative_names(corpus.expand_files(source))
    sizes = {path: _text_bytes(path) for path in names}
    piece_bytes = max(PIECE_BYTES, sum(sizes.values()) // MAX_PIECES)
    groups: list[list[str]] = [[]]
    filled = 0
    for path, size in sizes.items():
        if groups[-1] and filled + size > piece_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(path)
        filled += size
    return [
        WorkPiece(
            name=f"piece-{number:05d}",
            source=source,
            data_directory=data_directory,
            files=tuple((path, names[path]) for path in group),
            size_bytes=sum(sizes[path] for path in group),
        )
        for number, group in enumerate(groups)
        if group
    ]


def _text_bytes(path: str) -> int:
    plain = file_kind(path) in (*TEXT_KINDS, ".jsonl", ".json", ".csv") and not path.lower().endswith(".gz")
    return os.path.getsize(path) * (1 if plain else _EXPANSION)
