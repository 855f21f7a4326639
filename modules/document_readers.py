"""Documents out of one file, in bounded memory: plain text, Markdown, JSON lines, CSV and Parquet.

Every reader checks UTF-8 strictly and names the file and the line of what it cannot read. `clean` is the one
place where text changes: control characters go, `\\r\\n` becomes `\\n`.
"""

import csv
import dataclasses
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

from modules.errors import InputError

TEXT_KINDS = (".txt", ".md")
FILE_KINDS = (*TEXT_KINDS, ".jsonl", ".csv", ".parquet")

# One document is held in memory whole (and must fit a protocol buffer); a corpus never is.
MAX_DOCUMENT_BYTES = 64 * 2**20
BLANK_LINE = "blank_line"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PIECE_CHARACTERS = 2**20
# Unicode's category Cc without tab, line feed and carriage return.
_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One text and where it came from: a file's name, or a TFDS split."""

    text: str
    source: str


@dataclasses.dataclass(kw_only=True)
class ReadCounts:
    """What reading did to the documents: `documents` were kept, the rest says what was dropped."""

    documents: int = 0
    empty_dropped: int = 0
    control_characters_dropped: int = 0

    def add(self, other: "ReadCounts") -> None:
        """Adds what another worker counted."""
        for name, value in other.as_dict().items():
            setattr(self, name, getattr(self, name) + value)

    def as_dict(self) -> dict[str, int]:
        """Returns the counts by name."""
        return dataclasses.asdict(self)


def file_kind(path: str) -> str:
    """Returns the file's kind, `.txt` for `a.txt` and `a.txt.gz`.

    Raises:
        InputError: The name ends in none of the kinds that are understood.
    """
    name = os.path.basename(path).lower()
    kind = os.path.splitext(name.removesuffix(".gz"))[1]
    if kind not in FILE_KINDS or (kind == ".parquet" and name.endswith(".gz")):
        raise InputError(
            f"A data file must end in one of {', '.join(FILE_KINDS)}, or the same with .gz (Parquet "
            f"compresses itself). Received: {path}. Narrow the glob or convert the file."
        )
    return kind


def clean(texts: Iterable[str], counts: ReadCounts) -> Iterator[str]:
    r"""Drops control characters and then empty texts, counting both.

    `["a\r\nb\x00", " \n"]  ->  ["a\nb"]`, one control character and one empty text dropped.
    """
    for text in texts:
        printable, dropped = _CONTROL_CHARACTERS.subn("", text)
        counts.control_characters_dropped += dropped
        if not printable or printable.isspace():
            counts.empty_dropped += 1
            continue
        counts.documents += 1
        yield printable.replace("\r\n", "\n")


def read_texts(path: str, *, text_column: str, document_separator: str | None) -> Iterator[str]:
    """Streams the texts of one file as they stand in it, before `clean`.

    Args:
        path: A file of one of `FILE_KINDS`, the text kinds also with `.gz`.
        text_column: The column or key that holds the text, for `.jsonl`, `.csv` and `.parquet`.
        document_separator: For `.txt` and `.md`: None (a document a file), `"blank_line"` or any literal.

    Raises:
        InputError: The file is missing, damaged, not UTF-8 or lacks the column.
    """
    kind = file_kind(path)
    try:
        if kind == ".parquet":
            yield from _read_parquet(path, text_column)
            return
        with _open_binary(path) as handle:
            lines = _decoded_lines(handle, path)
            if kind == ".jsonl":
                yield from _read_json_lines(lines, path, text_column)
            elif kind == ".csv":
                yield from _read_csv(lines, path, text_column)
            else:
                yield from _split_text(lines, path, document_separator)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path} is not a whole gzip file ({error}). Test it with `gzip -t`, then copy it again."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _open_binary(path: str) -> IO[bytes]:
    return gzip.open(path, "rb") if path.lower().endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def _decoded_lines(handle: IO[bytes], path: str) -> Iterator[tuple[int, str]]:
    """Yields (line number from 1, line with its `\\n`) without byte order mark and `\\r` before `\\n`."""
    offset = 0
    number = 0
    while raw := handle.readline(MAX_DOCUMENT_BYTES + 1):
        number += 1
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise _too_long(f"{path}, line {number}")
        body = raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError as error:
            position = offset + len(raw) - len(body) + error.start
            raise InputError(
                f"{path} is not UTF-8: line {number}, byte {position}. "
                f"Received: 0x{body[error.start]:02x} ({error.reason}). "
                f"Convert it, for example `iconv -f ISO-8859-1 -t UTF-8`."
            ) from error
        offset += len(raw)
        yield number, text[:-2] + "\n" if text.endswith("\r\n") else text


def _too_long(place: str) -> InputError:
    return InputError(
        f"{place}: a document must be at most {MAX_DOCUMENT_BYTES // 2**20} MiB. "
        f'For .txt and .md files set `document_separator` ("{BLANK_LINE}" or a literal string).'
    )


def _split_text(lines: Iterator[tuple[int, str]], path: str, separator: str | None) -> Iterator[str]:
    """Yields the documents of a text file: whole, or what stands between separators."""
    if separator is None:
        return _split_at_blank_lines(lines, path, is_boundary=False)
    if separator == BLANK_LINE:
        return _split_at_blank_lines(lines, path, is_boundary=True)
    return _split_at_literal(lines, path, separator)


def _split_at_blank_lines(lines: Iterator[tuple[int, str]], path: str, *, is_boundary: bool) -> Iterator[str]:
    document: list[str] = []
    characters = 0
    for number, line in lines:
        if is_boundary and line.isspace():
            if document:
                yield "".join(document).removesuffix("\n")
            document, characters = [], 0
            continue
        document.append(line)
        characters += len(line)
        if characters > MAX_DOCUMENT_BYTES:
            raise _too_long(f"{path}, line {number}")
    text = "".join(document)
    # An empty file is one empty document, so that it is counted; a trailing blank line is none.
    if document or not is_boundary:
        yield text.removesuffix("\n") if is_boundary else text


def _split_at_literal(lines: Iterator[tuple[int, str]], path: str, separator: str) -> Iterator[str]:
    rest = ""
    for number, piece in _pieces(lines):
        *documents, rest = (rest + piece).split(separator)
        yield from documents
        if len(rest) > MAX_DOCUMENT_BYTES:
            raise _too_long(f"{path}, line {number}")
    if rest and not rest.isspace():
        yield rest


def _pieces(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Joins lines to pieces of about a million characters, so that searching costs little for each line."""
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


def _read_json_lines(lines: Iterator[tuple[int, str]], path: str, text_column: str) -> Iterator[str]:
    for number, line in lines:
        if line.isspace():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(
                f"{place}: not valid JSON ({error}). Each line of a .jsonl file must be one JSON object. "
                f"Received: {line.strip()[:80]!r}. Correct or remove the line."
            ) from error
        if not isinstance(row, dict):
            raise InputError(
                f"{place}: each line of a .jsonl file must be a JSON object such as "
                f'{{"{text_column}": "…"}}. Received: {line.strip()[:80]!r}.'
            )
        yield _checked_text(_column(row, text_column, place), text_column, place)


def _read_csv(lines: Iterator[tuple[int, str]], path: str, text_column: str) -> Iterator[str]:
    # The csv module's own limit of 131,072 characters a field is global; a document may be longer.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_DOCUMENT_BYTES))
    rows = csv.reader((line for _, line in lines), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            return
        position = _column({name: index for index, name in enumerate(header)}, text_column, f"{path}, header")
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{path}, line {rows.line_num}: each row must have the header's {len(header)} fields. "
                    f"Received: {len(row)} fields. Quote fields that hold commas or line breaks."
                )
            yield row[position]
    except csv.Error as error:
        raise InputError(
            f"{path}, line {rows.line_num}: not valid CSV ({error}). Fields with quotes, commas or line "
            f'breaks must be quoted with ", and a " inside doubled.'
        ) from error


def _read_parquet(path: str, text_column: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open(path, "rb"):
        pass  # A missing or unreadable file is an OSError here, not one of pyarrow's.
    row = 0
    try:
        # A small buffer makes pyarrow stream each row group instead of holding its column chunk.
        with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            types = {field.name: field.type for field in file.schema_arrow}
            kind = _column(types, text_column, path)
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise InputError(f"{path}: column {text_column!r} must hold strings. Received: {kind}.")
            for batch in file.iter_batches(batch_size=256, columns=[text_column]):
                for value in batch.column(0).to_pylist():
                    row += 1
                    yield _checked_text(value, text_column, f"{path}, row {row}")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as Parquet after row {row} ({reason}). If it is cut short, copy it anew."
        ) from error


def _column(columns: dict[str, Any], name: str, place: str) -> Any:
    if name not in columns:
        raise InputError(
            f"{place}: there is no column {name!r}. It has: {', '.join(map(repr, columns)) or 'none'}. "
            f"Set `text_column` to one of them."
        )
    return columns[name]


def _checked_text(value: object, text_column: str, place: str) -> str:
    if not isinstance(value, str):
        raise InputError(
            f"{place}: {text_column!r} must be a string. Received: {json.dumps(value, default=str)[:80]}. "
            f"Remove the row or name another `text_column`."
        )
    if found := _SURROGATES.search(value):
        raise InputError(
            f"{place}: {text_column!r} must be text that UTF-8 can hold. "
            f"Received: a lone surrogate \\u{ord(found.group()):04x}. Remove it."
        )
    return value
