"""Rows from Parquet and Arrow files, a bounded number at a time."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from modules.common.errors import InputError
from modules.data import data_files
from modules.data.data_files import opened, too_long
from modules.data.parquet_pages import MAX_BATCH_BYTES, MAX_BATCH_ROWS, batch_rows
from modules.data.row_values import missing_column, value_of

Row = dict[str, Any]
# Arrow's file format begins with these bytes. Its stream format, that of Hugging Face's data sets, does not.
_ARROW_FILE = b"ARROW1\0\0"


def read_parquet(
    path: str, columns: Sequence[str], also: Sequence[str] = (), *, required: bool
) -> Iterator[tuple[str, Row]]:
    """Yields pairs (place, row); the arguments are those of `row_files.read_rows`.

    Raises:
        InputError: The file is damaged, or lacks a column.
    """
    import pyarrow.parquet as pq

    row = 0
    # `opened`: a missing or unreadable file raises the same error as in the other formats.
    # A small buffer makes pyarrow stream each row group instead of holding its column chunk.
    with (
        opened(path) as pages,
        _errors(path, "Parquet", lambda: row),
        pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file,
    ):
        read = _columns_to_read(file.schema_arrow, columns, also, path, required=required)
        for group in range(file.num_row_groups):
            rows = batch_rows(pages, file.metadata, group, read, path)
            for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=read):
                for values in batch.to_pylist():
                    row += 1
                    yield f"{path}, row {row}", values


def read_arrow(
    path: str, columns: Sequence[str], also: Sequence[str] = (), *, required: bool
) -> Iterator[tuple[str, Row]]:
    """Yields pairs (place, row) of a file in Arrow's stream format or file format.

    The file is mapped into memory, so that what is not compressed takes only the memory of the rows that are read.

    Raises:
        InputError: The file is damaged, lacks a column, or a row is too long.
    """
    import pyarrow as pa

    row = 0
    with opened(path) as beginning:
        is_file = beginning.read(len(_ARROW_FILE)) == _ARROW_FILE
    with _errors(path, "Arrow", lambda: row), pa.memory_map(path) as source:
        reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        read = _columns_to_read(reader.schema, columns, also, path, required=required)
        names = list(dict.fromkeys(name if name in reader.schema.names else name.split(".")[0] for name in read))
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else iter(reader)
        for batch in batches:
            for part in _parts(batch.select(names)):
                if part.num_rows == 1 and part.nbytes > data_files.MAX_DOCUMENT_BYTES:
                    raise too_long(f"{path}, row {row + 1}")
                for values in part.to_pylist():
                    row += 1
                    yield f"{path}, row {row}", values


def _parts(batch: Any) -> Iterator[Any]:
    """Yields parts of a record batch that take little memory as Python objects, each of at least one row."""
    if batch.num_rows > MAX_BATCH_ROWS or (batch.num_rows > 1 and batch.nbytes > MAX_BATCH_BYTES):
        middle = batch.num_rows // 2
        yield from _parts(batch.slice(0, middle))
        yield from _parts(batch.slice(middle))
    elif batch.num_rows:
        yield batch


def _columns_to_read(
    schema: Any, columns: Sequence[str], also: Sequence[str], path: str, *, required: bool
) -> list[str]:
    """Returns the columns, nested ones by their path, that exist; all of the file's if none of `columns` exists."""
    types = _types(schema)
    for column in columns if required else ():
        _check_column(types, column, path)
    found = [column for column in (*columns, *also) if value_of(types, column) is not None]
    return found if any(column in columns for column in found) else list(types)


def _types(fields: Any) -> dict[str, Any]:
    """Returns the types of a schema's or a struct's fields by name; that of a struct is such a dictionary, too."""
    import pyarrow as pa

    return {field.name: _types(field.type) if pa.types.is_struct(field.type) else field.type for field in fields}


def _check_column(types: Mapping[str, Any], column: str, path: str) -> None:
    import pyarrow as pa

    kind = value_of(types, column)
    if kind is None:
        raise missing_column(types, column, path)
    if isinstance(kind, dict):
        nested = " or ".join(f"{column}.{name}" for name in list(kind)[:5])
        raise InputError(
            f"{path}: column {column!r} must hold strings. Received: objects. Set `text_column` to {nested}."
        )
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise InputError(f"{path}: column {column!r} must hold strings. Received: {kind}. Convert the column.")


@contextlib.contextmanager
def _errors(path: str, kind: str, row: Callable[[], int]) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it is empty"
        raise InputError(
            f"{path} cannot be read as {kind} after row {row()} ({reason}). If the file is incomplete, copy it again."
        ) from error
