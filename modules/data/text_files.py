"""Documents from plain text and Markdown files, in bounded memory."""

import dataclasses
from collections.abc import Iterator

from modules.data import data_files
from modules.data.data_files import decoded_lines, opened, too_long
from modules.data.documents import ReadCounts

BLANK_LINE = "blank_line"

_PIECE_CHARACTERS = 2**20


def read_texts(
    path: str, document_separator: str | None, encoding: str | None = None, counts: ReadCounts | None = None
) -> Iterator[tuple[str, str]]:
    """Yields pairs (place, text), one per document of the file; the text is unchanged.

    Args:
        path: A file of one of `TEXT_KINDS`, also with `.gz`.
        document_separator: None (the file is one document), `"blank_line"` or any literal string.
        encoding: The encoding of a file without a byte order mark; None: UTF-8.
        counts: At the end of the file, it is added whether the separator occurs in it.

    Raises:
        InputError: The file is missing, damaged, in another encoding, or a document is too long.
    """
    found = _Found()
    with opened(path) as handle:
        for line, text in _split(decoded_lines(handle, path, encoding), path, document_separator, found):
            yield f"{path}, line {line}", text
    if counts is not None and document_separator is not None and not found.is_empty:
        counts.searched_for_separator(document_separator, found=found.separator)


@dataclasses.dataclass(slots=True)
class _Found:
    """Facts about a file that was read: whether the separator occurs in it, and whether it has no text at all."""

    separator: bool = False
    is_empty: bool = True


def _split(
    lines: Iterator[tuple[int, str]], path: str, separator: str | None, found: _Found
) -> Iterator[tuple[int, str]]:
    """Yields pairs (number of the first line, text): the whole file, or each part between two separators."""
    if separator is None or separator == BLANK_LINE:
        return _split_at_blank_lines(lines, path, found, is_boundary=separator is not None)
    return _split_at_literal(lines, path, separator, found)


def _split_at_blank_lines(
    lines: Iterator[tuple[int, str]], path: str, found: _Found, *, is_boundary: bool
) -> Iterator[tuple[int, str]]:
    document: list[str] = []
    characters = 0
    start = 1
    for number, line in lines:
        if is_boundary and line.isspace():
            found.separator = True
            if document:
                yield start, "".join(document).removesuffix("\n")
            document, characters = [], 0
            continue
        if not document:
            start, found.is_empty = number, False
        document.append(line)
        characters += len(line)
        if characters > data_files.MAX_DOCUMENT_BYTES:
            raise too_long(f"{path}, line {number}")
    text = "".join(document)
    # An empty file is one empty document, so that it is counted. A blank line at the end is not a document.
    if document or not is_boundary:
        yield start, text.removesuffix("\n") if is_boundary else text


def _split_at_literal(
    lines: Iterator[tuple[int, str]], path: str, separator: str, found: _Found
) -> Iterator[tuple[int, str]]:
    rest = ""
    start = 1
    for number, piece in _pieces(lines):
        found.is_empty = False
        *documents, rest = (rest + piece).split(separator)
        for document in documents:
            found.separator = True
            yield start, document
            start += document.count("\n") + separator.count("\n")
        if len(rest) > data_files.MAX_DOCUMENT_BYTES:
            raise too_long(f"{path}, line {number}")
    if rest and not rest.isspace():
        yield start, rest


def _pieces(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Joins lines into pieces of about a million characters, so that searching costs little per line."""
    piece: list[str] = []
    characters = number = 0
    for number, line in lines:
        piece.append(line)
        characters += len(line)
        if characters >= _PIECE_CHARACTERS:
            yield number, "".join(piece)
            piece, characters = [], 0
    if piece:
        yield number, "".join(piece)
