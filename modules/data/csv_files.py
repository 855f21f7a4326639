"""Rows from files of separated values, .csv and .tsv, in bounded memory."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from modules.common.errors import InputError
from modules.common.formatting import excerpt
from modules.data import data_files
from modules.data.bad_rows import RowError
from modules.data.data_files import decoded_lines, file_kind, opened, too_long
from modules.data.row_values import missing_column

# Fields of a row.
MAX_FIELDS = 1_000_000

_QUOTED = re.compile('"[^"]*"')
_DELIMITERS = (";", "\t", "|", ",")

Row = dict[str, Any]


def read_csv(
    path: str,
    columns: Sequence[str],
    *,
    required: bool,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Iterator[tuple[str, Row | RowError]]:
    """Yields pairs (place, row); the arguments are those of `row_files.read_rows`.

    Raises:
        InputError: The file is not valid CSV, or its header lacks a column.
    """
    delimiter = delimiter or ("\t" if file_kind(path) == ".tsv" else ",")
    # A document may be longer than the csv module's limit of 131,072 characters per field, which is global.
    csv.field_size_limit(max(csv.field_size_limit(), data_files.MAX_DOCUMENT_BYTES))
    with opened(path) as handle:
        lines = _bounded_lines(decoded_lines(handle, path, encoding), path, delimiter, lambda: start)
        rows = csv.reader(lines, strict=True, delimiter=delimiter)
        start = 1
        try:
            header = next(rows, None)
            if header is None:
                return
            _check_header(header, columns, path, delimiter, required=required)
            start = rows.line_num + 1
            for row in rows:
                place, start, end = f"{path}, line {start}", rows.line_num + 1, rows.line_num
                if len(row) == len(header):
                    yield place, dict(zip(header, row, strict=True))
                elif row:
                    yield f"{path}, line {end}", _wrong_fields(row, header, f"{path}, line {end}", delimiter)
        except csv.Error as error:
            raise InputError(
                f"{path}, line {rows.line_num}: not valid CSV ({error}). Fields with quotes, {_name(delimiter)} or "
                f'line breaks must be quoted with ", and a " inside doubled.'
            ) from error


def _wrong_fields(row: Sequence[str], header: Sequence[str], place: str, delimiter: str) -> RowError:
    return RowError(
        "wrong_number_of_fields",
        f"{place}: each row must have the header's {len(header)} fields. Received: {len(row)} fields. Quote fields "
        f"that hold {_name(delimiter)} or line breaks.",
    )


def _check_header(header: Sequence[str], columns: Sequence[str], path: str, delimiter: str, *, required: bool) -> None:
    """Checks that each of the columns is there once, or that it can be; a wrong delimiter is reported as such.

    Raises:
        InputError: It is not.
    """
    place = f"{path}, header"
    repeated = [name for name in columns if header.count(name) > 1]
    if repeated:
        raise InputError(f"{place}: the column {repeated[0]!r} is there twice. Rename one column.")
    missing = [column for column in columns if column not in header]
    if missing and (required or len(missing) == len(columns)):
        likely = _likely_delimiter(header, delimiter)
        if likely is not None:
            shown = likely.replace("\t", "\\t")
            looks = "a tab" if likely == "\t" else repr(likely)
            raise InputError(
                f"{place}: there is no column {missing[0]!r}. Received: the columns "
                f"{excerpt(delimiter.join(header))}: the delimiter looks like {looks}. "
                f"Set it with `--set data.delimiter='{shown}'`."
            )
        if required:
            raise missing_column(dict.fromkeys(header), missing[0], place)


def _likely_delimiter(header: Sequence[str], delimiter: str) -> str | None:
    """Returns the character that separates more names than the delimiter does: `;` for the header `["id;text"]`."""
    counts = {mark: sum(name.count(mark) for name in header) for mark in _DELIMITERS if mark != delimiter}
    likely = max(counts, key=lambda mark: counts[mark])
    return likely if counts[likely] >= len(header) else None


def _name(delimiter: str) -> str:
    return {",": "commas", ";": "semicolons", "\t": "tabs"}.get(delimiter, f"{delimiter!r}")


def _bounded_lines(
    lines: Iterable[tuple[int, str]], path: str, delimiter: str, first_line: Callable[[], int]
) -> Iterator[str]:
    """Yields lines for the csv module, which holds all lines of a row and all its fields in memory.

    Args:
        lines: Pairs (line number, line).
        path: For messages.
        delimiter: The character between two fields.
        first_line: Returns the number of the first line of the row that is being read.

    Raises:
        InputError: A row is longer than a document may be, or has more than `MAX_FIELDS` fields.
    """
    row, characters = 0, 0
    for number, line in lines:
        if row != (current := first_line()):
            row, characters = current, 0
        characters += len(line)
        if characters > data_files.MAX_DOCUMENT_BYTES:
            raise too_long(f"{path}, line {number}")
        # Commas between quotes are text. A short field takes twenty times its size in memory.
        if line.count(delimiter) > MAX_FIELDS and _QUOTED.sub("", line).count(delimiter) > MAX_FIELDS:
            raise InputError(
                f"{path}, line {number}: a row may have at most {MAX_FIELDS:,} fields. Received: more. Quote fields "
                f"that hold {_name(delimiter)}."
            )
        yield line
