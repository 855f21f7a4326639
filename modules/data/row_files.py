"""Rows from JSON Lines, JSON, CSV, TSV, Parquet and Arrow files, each with its place in the file."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from modules.common.json_files import check_depth, check_items
from modules.data.bad_rows import RowError
from modules.data.columnar_files import read_arrow, read_parquet
from modules.data.csv_files import read_csv
from modules.data.data_files import decoded_lines, file_kind, opened
from modules.data.json_arrays import read_items
from modules.data.row_values import missing_column, received, value_of

_SHAPE = '{"text": "…"}'

Row = dict[str, Any]


def read_rows(
    path: str, columns: Sequence[str], *, required: bool, delimiter: str | None = None
) -> Iterator[tuple[str, Row]]:
    """Yields pairs (place, row) of one file, every row of which must be sound; see `read_rows_and_errors`.

    Raises:
        InputError: As in `read_rows_and_errors`, or a row cannot be used or lacks a column.
    """
    for place, row in read_rows_and_errors(path, columns, required=required, delimiter=delimiter):
        if isinstance(row, RowError):
            raise row
        for column in columns if required else ():
            if column not in row and value_of(row, column) is None:
                raise missing_column(row, column, place)
        yield place, row


def read_rows_and_errors(
    path: str,
    columns: Sequence[str],
    *,
    required: bool,
    also: Sequence[str] = (),
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Iterator[tuple[str, Row | RowError]]:
    """Yields pairs (place, row) of one file; in place of a row that cannot be read, the error about it.

    Args:
        path: A file of one of `ROW_KINDS`; all kinds except Parquet and Arrow may also be compressed.
        columns: The columns that are used. Of Parquet and Arrow files only these columns are read.
        also: More columns that are read where one of `columns` is there.
        required: True if every row must have each of `columns`. A header that lacks one is an error.
        delimiter: The character between two fields of a .csv or .tsv file; None: a comma or a tab.
        encoding: The encoding of a text file without a byte order mark; None: UTF-8.

    Raises:
        InputError: The file is missing, damaged, in another encoding or format, or lacks a column.
    """
    kind = file_kind(path)
    if kind == ".parquet":
        yield from read_parquet(path, columns, also, required=required)
    elif kind == ".arrow":
        yield from read_arrow(path, columns, also, required=required)
    elif kind in (".csv", ".tsv"):
        yield from read_csv(path, columns, required=required, delimiter=delimiter, encoding=encoding)
    elif kind == ".json":
        with opened(path) as handle:
            yield from read_items(handle, path, encoding)
    elif kind == ".jsonl":
        yield from _read_json_lines(path, encoding)
    else:
        raise NotImplementedError(f"`read_rows` needs a reader for {kind} files.")


def _read_json_lines(path: str, encoding: str | None) -> Iterator[tuple[str, Row | RowError]]:
    with opened(path) as handle:
        for number, line in decoded_lines(handle, path, encoding):
            if not line.isspace():
                place = f"{path}, line {number}"
                yield place, _parsed(line, place)


def _parsed(line: str, place: str) -> Row | RowError:
    """Returns the row of a line of JSON, or the error about it.

    Raises:
        InputError: Parsing it would take too much memory.
    """
    check_items(line, place)
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError, too
        return RowError(
            "invalid_json",
            f"{place}: not valid JSON ({error}). Each line of a .jsonl file must be one JSON object. "
            f"Received: {line.strip()[:80]!r}. Correct or remove the line.",
        )
    check_depth(row, place, brackets=line.count("[") + line.count("{"))
    if not isinstance(row, dict):
        return RowError(
            "no_object",
            f"{place}: each line of a .jsonl file must be a JSON object such as {_SHAPE}. Received: {received(row)}. "
            "Correct or remove the row.",
        )
    return row
