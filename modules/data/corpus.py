"""Entry to a corpus from any sources: checks them, fingerprints them, cuts them into pieces, and reads these.

Workers read the pieces independently. A piece is a group of files or a slice of a TFDS split. This module does not
import TensorFlow, because the command line checks its input with it before anything heavy is loaded.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import time
from collections.abc import Iterator, Sequence

from modules.common.errors import InputError
from modules.data import docstrings
from modules.data.bad_rows import BadRows, BadRowsError
from modules.data.data_files import COMPRESSED, TEXT_KINDS, file_kind
from modules.data.documents import Document, ReadCounts
from modules.data.file_documents import expand_files, read_documents, relative_names
from modules.data.source import Corpus, DataSource, is_python_documentation

PIECE_BYTES = 64 * 2**20
# More pieces would make many small files: each piece writes a file into every bucket.
MAX_PIECES = 64
CHECK_SECONDS = 2.0
# A text is roughly this many times as large as the compressed file that holds it.
_EXPANSION = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkPiece:
    """A part of the corpus that one worker reads at a time.

    Attributes:
        name: Unique in the corpus, e.g. `piece-00003`.
        source: The source that the piece is a part of.
        data_directory: Folder of TFDS's datasets.
        files: (path, name for the documents' `source`); empty for TFDS.
        tfds_slice: E.g. `"train[0:50000]"`; empty for files.
        size_bytes: Estimated size of its text.
    """

    name: str
    source: DataSource
    data_directory: str
    files: tuple[tuple[str, str], ...] = ()
    tfds_slice: str = ""
    size_bytes: int


def corpus_fingerprint(corpus: Corpus) -> str:
    """Returns SHA-256 over the fingerprints of all sources, in their order; of one source, its own fingerprint.

    Raises:
        InputError: See `fingerprint`.
    """
    fingerprints = []
    for source in corpus.sources:
        with _named(source):
            fingerprints.append(fingerprint(source))
    return fingerprints[0] if len(fingerprints) == 1 else hashlib.sha256("".join(fingerprints).encode()).hexdigest()


def fingerprint(source: DataSource) -> str:
    """Returns SHA-256, as 64 hexadecimal digits, over everything that the source's documents depend on.

    For files, these are relative names and contents; modification times do not matter. For a TFDS dataset, these are
    its name and the version of TFDS, which decides the dataset's version. For the project's own dataset, the installed
    packages that it reads count as well.

    Raises:
        InputError: No file matches, or a file cannot be read.
    """
    digest = hashlib.sha256()
    if source.tfds is not None:
        parts = [source.tfds, importlib.metadata.version("tensorflow-datasets")]
        if is_python_documentation(source):
            parts.append(docstrings.environment_fingerprint())
        digest.update("\n".join(parts).encode())
        return digest.hexdigest()
    for path, name in sorted(relative_names(expand_files(source)).items(), key=lambda item: item[1]):
        # surrogateescape: a file name need not be UTF-8.
        digest.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
        try:
            with open(path, "rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def check_corpus(corpus: Corpus, *, data_directory: str = "") -> None:
    """Checks every source; all together take about `CHECK_SECONDS`.

    Raises:
        InputError: See `check_source`; the message names the source if it has a name.
    """
    for source in corpus.sources:
        with _named(source):
            check_source(source, CHECK_SECONDS / len(corpus.sources), data_directory=data_directory)


def check_source(source: DataSource, time_limit_s: float = CHECK_SECONDS, *, data_directory: str = "") -> None:
    """Reads as much of the files as the time limit allows, so that a bad source fails before a run starts.

    The first document of every file is read first, because it shows a missing column or a wrong format. Then every
    line is read. For a TFDS dataset, the name is checked, and that the dataset is prepared or can be downloaded.

    Args:
        source: The source that will be read.
        time_limit_s: Seconds after which the check ends without a verdict.
        data_directory: Folder of TFDS's datasets.

    Raises:
        InputError: The source cannot be read; the message names the place and the cure.
    """
    if source.files is None:
        if not is_python_documentation(source):
            from modules.data import tfds_documents  # the import takes a second, without TensorFlow

            tfds_documents.check(source, data_directory)
        return
    deadline = time.monotonic() + time_limit_s
    paths = expand_files(source)
    if source.split_long_documents is not None:
        # A long file gives no part before its end is read; its lines are checked as soon as they are read.
        separator = source.document_separator or "\n"
        source = source.model_copy(update={"split_long_documents": None, "document_separator": separator})
    empty = sum(os.path.getsize(path) == 0 for path in paths)
    if empty == len(paths):
        raise empty_corpus((source,), ReadCounts(dropped={"empty": empty}))
    counts = ReadCounts()
    bad_rows = BadRows(source.on_bad_row, counts)
    found = False
    # Text files are left out here: they have no columns to check, and reading their first document can take long.
    for path in paths:
        if time.monotonic() > deadline:
            bad_rows.check()
            return
        if file_kind(path) not in TEXT_KINDS:
            next(read_documents(path, source, bad_rows=bad_rows), None)
    counts.dropped.clear()
    for path in paths:
        for _ in read_documents(path, source, counts=counts, bad_rows=bad_rows):
            found = True
            if time.monotonic() > deadline:
                bad_rows.check()
                return
    bad_rows.check()
    if not found:
        raise empty_corpus((source,), counts)


def empty_corpus(sources: Sequence[DataSource], counts: ReadCounts) -> InputError:
    """Returns the error for sources without a usable document, with the numbers of dropped documents by reason."""
    places = ", ".join(source.described for source in sources)
    dropped = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.dropped.items()))
    return InputError(
        f"{places} holds no text that can be used: a corpus needs at least a few documents. "
        f"Received: 0 documents (dropped: {dropped or 'none'}). Name a source with text in it, or relax "
        "`data.cleaning`."
    )


def plan(corpus: Corpus, data_directory: str) -> list[WorkPiece]:
    """Prepares TFDS datasets where needed and cuts all sources into pieces with names of their own.

    Raises:
        InputError: No file matches, or a dataset is unknown or cannot be prepared.
    """
    pieces = []
    for source in corpus.sources:
        with _named(source):
            pieces += _plan_tfds(source, data_directory) if source.tfds else _plan_files(source, data_directory)
    return [dataclasses.replace(piece, name=f"piece-{number:05d}") for number, piece in enumerate(pieces)]


@contextlib.contextmanager
def _named(source: DataSource) -> Iterator[None]:
    """Puts the name of the source, if it has one, in front of an InputError's message."""
    try:
        yield
    except InputError as error:
        raise error if source.name is None else InputError(f"{source.described}: {error}") from error


def read(piece: WorkPiece, counts: ReadCounts, rejected_path: str | None = None) -> Iterator[Document]:
    """Streams the piece's documents, and adds to `counts` what reading dropped.

    Args:
        piece: One of `plan`.
        counts: Reading adds to these counts. With `data.on_bad_row: stop`, the messages about rows that cannot be
            used are added to `bad_rows`: the caller checks those of all pieces at once, with `check_bad_rows`.
        rejected_path: File for the rows that are left out with `data.on_bad_row: drop`; None: they are only counted.

    Raises:
        InputError: A file does not hold what its ending promises.
    """
    with _named(piece.source), BadRows(piece.source.on_bad_row, counts, rejected_path) as bad_rows:
        with contextlib.suppress(BadRowsError):  # so many are enough for one message
            if piece.tfds_slice:
                from modules.data import tfds_documents

                yield from tfds_documents.read_slice(
                    piece.source, piece.data_directory, piece.tfds_slice, counts, bad_rows
                )
            for path, name in piece.files:
                yield from read_documents(path, piece.source, name=name, counts=counts, bad_rows=bad_rows)
        named = f"{piece.source.described}: " if piece.source.name is not None else ""
        counts.bad_rows += [named + message for message in bad_rows.messages]


def _plan_tfds(source: DataSource, data_directory: str) -> list[WorkPiece]:
    from modules.data import tfds_documents

    builder = tfds_documents.prepare(source, data_directory)
    slices = tfds_documents.slices(source, builder)
    examples = max(1, sum(split.num_examples for split in builder.info.splits.values()))
    return [
        WorkPiece(
            name="",
            source=source,
            data_directory=data_directory,
            tfds_slice=name,
            size_bytes=builder.info.dataset_size * count // examples,
        )
        for name, count in slices
    ]


def _plan_files(source: DataSource, data_directory: str) -> list[WorkPiece]:
    names = relative_names(expand_files(source))
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
            name="",
            source=source,
            data_directory=data_directory,
            files=tuple((path, names[path]) for path in group),
            size_bytes=sum(sizes[path] for path in group),
        )
        for group in groups
        if group
    ]


def _text_bytes(path: str) -> int:
    plain = file_kind(path) != ".parquet" and not path.lower().endswith(COMPRESSED)
    return os.path.getsize(path) * (1 if plain else _EXPANSION)
