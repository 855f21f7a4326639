"""Rows from JSON Lines, JSON, CSV and Parquet files, each with its place in the file."""

import contextlib
import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from modules.common.errors import InputError
from modules.common.json_files import check_depth, check_items
from modules.data import data_files
from modules.data.data_files import decoded_lines, file_kind, opened, too_long
from modules.data.json_arrays import read_items
from modules.data.parquet_pages import batch_rows
from modules.data.records import missing_column

# Fields of a row of a .csv file.
MAX_FIELDS = 1_000_000

_QUOTED = re.compile('"[^"]*"')
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
            check_items(line, place)
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError, too
                raise InputError(
                    f"{place}: not valid JSON ({error}). Each line of a .jsonl file must be one JSON object. "
                    f"Received: {line.strip()[:80]!r}. Correct or remove the line."
                ) from error
            check_depth(row, place, brackets=line.count("[") + line.count("{"))
            yield place, _checked_row(row, place, f"each line of a .jsonl file must be a JSON object such as {_SHAPE}")


def _read_json(path: str) -> Iterator[tuple[str, Row]]:
    with opened(path) as handle:
        yield from read_items(handle, path)


def _checked_row(row: object, place: str, rule: str) -> Row:
    if not isinstance(row, dict):
        raise InputError(f"{place}: {rule}. Received: {json.dumps(row)[:80]}. Correct or remove the row.")
    return row


def _read_csv(path: str, columns: Sequence[str], *, required: bool) -> Iterator[tuple[str, Row]]:
    # A document may be longer than the csv module's limit of 131,072 characters per field, which is global.
    csv.field_size_limit(max(csv.field_size_limit(), data_files.MAX_DOCUMENT_BYTES))
    with opened(path) as handle:
        rows = csv.reader(_bounded_lines(handle, path, lambda: start), strict=True)
        start = 1
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
                    start = rows.line_num + 1
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


def _bounded_lines(handle: IO[bytes], path: str, first_line: Callable[[], int]) -> Iterator[str]:
    """Yields lines for the csv module, which holds all lines of a row and all its fields in memory.

    Args:
        handle: The file.
        path: For messages.
        first_line: Returns the number of the first line of the row that is being read.

    Raises:
        InputError: A row is longer than a document may be, or has more than `MAX_FIELDS` fields.
    """
    row, characters = 0, 0
    for number, line in decoded_lines(handle, path):
        if row != (current := first_line()):
            row, characters = current, 0
        characters += len(line)
        if characters > data_files.MAX_DOCUMENT_BYTES:
            raise too_long(f"{path}, line {number}")
        # Commas between quotes are text. A short field takes twenty times its size in memory.
        if line.count(",") > MAX_FIELDS and _QUOTED.sub("", line).count(",") > MAX_FIELDS:
            raise InputError(
                f"{path}, line {number}: a row may have at most {MAX_FIELDS:,} fields. Received: more. Quote fields "
                "that hold commas."
            )
        yield line


def _read_parquet(path: str, columns: Sequence[str], *, required: bool) -> Iterator[tuple[str, Row]]:
    import pyarrow.parquet as pq

    row = 0
    # `opened`: a missing or unreadable file raises the same error as in the other formats.
    # A small buffer makes pyarrow stream each row group instead of holding its column chunk.
    with (
        opened(path) as pages,
        _parquet_errors(path, lambda: row),
        pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file,
    ):
        types = {field.name: field.type for field in file.schema_arrow}
        for column in columns if required else ():
            _check_column(types, column, path)
        found = [column for column in columns if column in types]
        read = found or list(types)
        for group in range(file.num_row_groups):
            rows = batch_rows(pages, file.metadata, group, read, path)
            for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=read):
                for values in batch.to_pylist():
                    row += 1
                    yield f"{path}, row {row}", values


@contextlib.contextmanager
def _parquet_errors(path: str, row: Callable[[], int]) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as Parquet after row {row()} ({reason}). If the file is incomplete, copy it again."
        ) from error


def _check_column(types: Row, column: str, path: str) -> None:
    import pyarrow as pa

    if column not in types:
        raise missing_column(types, column, path)
    kind = types[column]
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"{path}: column {column!r} must hold strings. Received: {kind}. Convert the column.")
