"""Rows from JSON Lines, JSON, CSV and Parquet files, each with its place in the file."""

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any

from modules.common.errors import InputError
from modules.data import data_files
from modules.data.data_files import decoded_lines, file_kind, opened
from modules.data.records import missing_column

# A .json file is one value and is parsed whole.
MAX_JSON_BYTES = 256 * 2**20

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
    with opened(path) as handle:
        raw = handle.read(MAX_JSON_BYTES + 1)
    if len(raw) > MAX_JSON_BYTES:
        raise InputError(
            f"{path}: a .json file is read at once, so it must be at most {MAX_JSON_BYTES // 2**20} MiB. "
            "Convert it to .jsonl, for example with `jq -c '.[]'`."
        )
    try:
        rows = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8: byte {error.start}. Received: 0x{raw[error.start]:02x} ({error.reason}). "
            f"Convert it, for example `iconv -f ISO-8859-1 -t UTF-8`."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not valid JSON ({error}). Correct it, or name it .jsonl if each line is one JSON object."
        ) from error
    if not isinstance(rows, list):
        raise InputError(
            f"{path}: a .json file must hold a list of objects. Received: {str(rows)[:80]}. "
            "Put the objects into one list."
        )
    for number, row in enumerate(rows, start=1):
        place = f"{path}, row {number}"
        yield place, _checked_row(row, place, f"each item of a .json file must be an object such as {_SHAPE}")


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
            for batch in file.iter_batches(batch_size=256, columns=found or list(types)):
                for values in batch.to_pylist():
                    row += 1
                    yield f"{path}, row {row}", values
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as Parquet after row {row} ({reason}). If the file is incomplete, copy it again."
        ) from error


def _check_column(types: Row, column: str, path: str) -> None:
    import pyarrow as pa

    if column not in types:
        raise missing_column(types, column, path)
    kind = types[column]
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"{path}: column {column!r} must hold strings. Received: {kind}. Convert the column.")
