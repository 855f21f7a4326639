"""Rows from JSON Lines, JSON, CSV and Parquet files, each with its place in the file."""

import codecs
import csv
import json
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

from modules.common.errors import InputError
from modules.data import data_files
from modules.data.data_files import decoded_lines, file_kind, opened, too_long
from modules.data.records import missing_column

_CHUNK_BYTES = 2**20
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
# A cell may hold megabytes, however small the file is, so only a few rows are unpacked at a time.
_PARQUET_ROWS = 8
_VALUES_PER_PAGE = 1024
_MAX_PAGE_BYTES = 512 * 2**20

_SHAPE = '{"text": "…"}'

Row = dict[str, Any]


def read_rows(path: str, columns: Sequence[str], *, required: bool) -> Iterator[tuple[str, Row]]:
    """Yields pairs (place, row) of one file.

    Args:
        path: A file of one of `ROW_KINDS`; all kinds except Parquet may also end in `.gz`.
        columns: The columns that are used. Of Parquet files only these columns are read.
        required: True if every row must have each of these columns.

    Raises:
        InputError: The file is missing, damaged, not UTF-8, of another format than its name, or lacks a column.
    """
    kind = file_kind(path)
    if kind == ".parquet":
        rows = _read_parquet(path, columns, required=required)
    elif kind == ".csv":
        rows = _read_csv(path, columns, required=required)
    elif kind == ".json":
        rows = _read_json(path)
    elif kind == ".jsonl":
        rows = _read_json_lines(path)
    else:
        raise NotImplementedError(f"`read_rows` needs a reader for {kind} files.")
    for place, row in rows:
        for column in columns if required else ():
            if column not in row:
                raise missing_column(row, column, place)
        yield place, row


def _read_json_lines(path: str) -> Iterator[tuple[str, Row]]:
    with opened(path) as handle:
        for number, line in decoded_lines(handle, path):
            if line.isspace():
                continue
            place = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError, too
                raise InputError(
                    f"{place}: not valid JSON ({error}). Each line of a .jsonl file must be one JSON object. "
                    f"Received: {line.strip()[:80]!r}. Correct or remove the line."
                ) from error
            yield place, _checked_row(row, place, f"each line of a .jsonl file must be a JSON object such as {_SHAPE}")


def _read_json(path: str) -> Iterator[tuple[str, Row]]:
    """Streams the items of a JSON array; in memory is one item and a part of the file."""
    with opened(path) as handle:
        text = _JsonText(handle, path)
        if text.next_character() != "[":
            raise InputError(
                f"{path}: a .json file must hold a list of objects. Received: {text.beginning()!r}. "
                "Put the objects into one list, or name the file .jsonl if each line is one JSON object."
            )
        text.skip()
        number = 0
        while text.next_character() != "]":
            if number:
                text.take_comma(number)
            number += 1
            place = f"{path}, row {number}"
            yield (
                place,
                _checked_row(
                    text.take_item(number), place, f"each item of a .json file must be an object such as {_SHAPE}"
                ),
            )
        text.skip()
        if text.next_character():
            raise text.error(f"text after the list: {text.beginning()!r}")


class _JsonText:
    """The text of a JSON file, of which only a part is in memory."""

    def __init__(self, handle: IO[bytes], path: str) -> None:
        self._handle = handle
        self._path = path
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._place = 0
        self._bytes_read = 0
        self._lines = 0
        self._ended = False

    def next_character(self) -> str:
        """Skips white space; returns the next character without taking it, "" at the end of the file."""
        while True:
            space = _SPACE.match(self._text, self._place)
            assert space is not None  # it may be empty
            self._place = space.end()
            if self._place < len(self._text) or self._ended:
                return self._text[self._place : self._place + 1]
            self._read_more()

    def beginning(self) -> str:
        """Returns the first characters of the text that is not taken yet."""
        return self._text[self._place : self._place + 80]

    def skip(self) -> None:
        """Takes one character."""
        self._place += 1

    def take_comma(self, row: int) -> None:
        """Takes the comma after a row."""
        if self.next_character() != ",":
            raise self.error(f"no comma after row {row}, but {self.beginning()!r}")
        self.skip()

    def take_item(self, row: int) -> Any:
        """Takes one value."""
        self.next_character()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
            except RecursionError:
                raise self.error(f"row {row} is nested too deeply") from None
            except ValueError as error:  # a number of thousands of digits is a ValueError, too
                if self._ended:
                    line = self._lines + getattr(error, "lineno", 1)
                    raise self.error(f"row {row}, line {line}: {getattr(error, 'msg', error)}") from None
                end = len(self._text)
            # At the end of the part in memory, a value may be cut, or a number may go on.
            if end < len(self._text) or self._ended:
                self._place = end
                return value
            if len(self._text) - self._place > data_files.MAX_DOCUMENT_BYTES:
                raise too_long(f"{self._path}, row {row}")
            self._read_more()

    def error(self, reason: str) -> InputError:
        """Returns the error for text that is not JSON."""
        return InputError(
            f"{self._path}: not valid JSON ({reason}). Correct it, or name it .jsonl if each line is one JSON object."
        )

    def _read_more(self) -> None:
        # The part doubles, so that a long item is not parsed again and again from its beginning.
        rest = len(self._text) - self._place
        raw = self._handle.read(min(max(_CHUNK_BYTES, rest), data_files.MAX_DOCUMENT_BYTES + 1 - rest))
        try:
            more = self._decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            position = self._bytes_read + error.start
            raise InputError(
                f"{self._path} is not UTF-8: byte {position}. Received: 0x{error.object[error.start]:02x} "
                f"({error.reason}). Convert it, for example `iconv -f ISO-8859-1 -t UTF-8`."
            ) from error
        self._lines += self._text.count("\n", 0, self._place)
        self._text = self._text[self._place :] + more
        self._place = 0
        self._bytes_read += len(raw)
        self._ended = not raw


def _checked_row(row: object, place: str, rule: str) -> Row:
    if not isinstance(row, dict):
        raise InputError(f"{place}: {rule}. Received: {json.dumps(row)[:80]}. Correct or remove the row.")
    return row


def _read_csv(path: str, columns: Sequence[str], *, required: bool) -> Iterator[tuple[str, Row]]:
    # A document may be longer than the csv module's limit of 131,072 characters per field, which is global.
    csv.field_size_limit(max(csv.field_size_limit(), data_files.MAX_DOCUMENT_BYTES))
    with opened(path) as handle:
        rows = csv.reader((line for _, line in decoded_lines(handle, path)), strict=True)
        try:
            header = next(rows, None)
            if header is None:
                return
            repeated = [name for name in columns if header.count(name) > 1]
            if repeated:
                raise InputError(f"{path}, header: the column {repeated[0]!r} is there twice. Rename one column.")
            start = rows.line_num + 1
            for column in columns if required else ():
                if column not in header:
                    raise missing_column(dict.fromkeys(header), column, f"{path}, header")
            for row in rows:
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"{path}, line {rows.line_num}: each row must have the header's {len(header)} fields. "
                        f"Received: {len(row)} fields. Quote fields that hold commas or line breaks."
                    )
                yield f"{path}, line {start}", dict(zip(header, row, strict=True))
                start = rows.line_num + 1
        except csv.Error as error:
            raise InputError(
                f"{path}, line {rows.line_num}: not valid CSV ({error}). Fields with quotes, commas or line "
                f'breaks must be quoted with ", and a " inside doubled.'
            ) from error


def _read_parquet(path: str, columns: Sequence[str], *, required: bool) -> Iterator[tuple[str, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened(path):
        pass  # A missing or unreadable file raises the same error as in the other formats.
    row = 0
    try:
        # A small buffer makes pyarrow stream each row group instead of holding its column chunk.
        with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            types = {field.name: field.type for field in file.schema_arrow}
            for column in columns if required else ():
                _check_column(types, column, path)
            found = [column for column in columns if column in types]
            _check_pages(file.metadata, found or list(types), path)
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=found or list(types)):
                for number in range(batch.num_rows):
                    row += 1
                    yield f"{path}, row {row}", batch.slice(number, 1).to_pylist()[0]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as Parquet after row {row} ({reason}). If the file is incomplete, copy it again."
        ) from error


def _check_pages(metadata: Any, columns: Sequence[str], path: str) -> None:
    """Checks how much memory the columns' pages need, of which each is unpacked at once.

    Writers start a new page after so many values or earlier, if the page has a megabyte.
    """
    for group in range(metadata.num_row_groups):
        for number in range(metadata.row_group(group).num_columns):
            column = metadata.row_group(group).column(number)
            if column.path_in_schema.split(".")[0] not in columns or not column.num_values:
                continue
            in_a_page = min(1, _VALUES_PER_PAGE / column.num_values)
            size_bytes = column.total_uncompressed_size * in_a_page
            if size_bytes > _MAX_PAGE_BYTES:
                raise InputError(
                    f"{path}: a page of a Parquet file is unpacked at once, so it must be at most "
                    f"{_MAX_PAGE_BYTES // 2**20} MiB. Received: about {size_bytes / 2**20:,.0f} MiB in the column "
                    f"{column.path_in_schema!r}. Write it again with fewer rows in a group, for example by "
                    "`pyarrow.parquet.write_table(table, path, row_group_size=16)`."
                )


def _check_column(types: Row, column: str, path: str) -> None:
    import pyarrow as pa

    if column not in types:
        raise missing_column(types, column, path)
    kind = types[column]
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"{path}: column {column!r} must hold strings. Received: {kind}. Convert the column.")
