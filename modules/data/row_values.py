"""Values of a row's columns: which of them are there, and texts among them."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from modules.common.formatting import excerpt
from modules.data.bad_rows import RowError

_NAMES_SHOWN = 20
# The column whose name `data.text_column` sets has no other cure than another name.
_FIXED_COLUMNS = frozenset((
    "messages", "conversations", "instruction", "input", "output", "prompt", "completion", "chosen", "rejected",
    "role", "content",
))  # fmt: skip


def present(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns that are not null: tables that were joined have columns that are null in most rows."""
    return {name: value for name, value in row.items() if value is not None}


def value_of(row: Mapping[str, Any], column: str) -> Any:
    """Returns a column's value, or a nested one; None if there is none.

    `meta.text` is the column of this name, or `text` in the object `meta`.
    """
    if column in row or "." not in column:
        return row.get(column)
    value: Any = row
    for name in column.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def text_of(row: Mapping[str, Any], column: str, place: str) -> str:
    """Returns a column's text; see `value_of`.

    Raises:
        RowError: The column is missing, is not a string, or cannot be encoded as UTF-8.
    """
    value = value_of(row, column)
    if value is None and column not in row:
        raise missing_column(row, column, place)
    if not isinstance(value, str):
        raise RowError(
            "missing_column" if value is None else "no_text",
            f"{place}: {column!r} must be a string. Received: {received(value)}. "
            f"Remove the row or choose another column.",
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        found = ord(value[error.start])
        raise RowError(
            "no_unicode",
            f"{place}: {column!r} must be text that UTF-8 can hold. "
            f"Received: a lone surrogate \\u{found:04x}. Remove it.",
        ) from None
    return value


def missing_column(columns: Mapping[str, Any], column: str, place: str) -> RowError:
    """Returns the error for a missing column; its message lists the columns that exist."""
    cure = "" if column in _FIXED_COLUMNS else " Set `text_column` to one of them."
    return RowError("missing_column", f"{place}: there is no column {column!r}. It has: {column_names(columns)}.{cure}")


def column_names(columns: Mapping[str, Any]) -> str:
    """Returns the names of a row's columns for a message; a row may have a million. Nested ones have their path."""
    names = list(itertools.islice(_names(columns), _NAMES_SHOWN + 1))
    return ", ".join([*map(excerpt, names[:_NAMES_SHOWN]), *(["…"] if len(names) > _NAMES_SHOWN else [])]) or "none"


def received(value: object) -> str:
    """Returns the beginning of a value's JSON text, for a message."""
    return json.dumps(value, default=str)[:80]


def _names(columns: Mapping[str, Any]) -> Iterator[str]:
    for name, value in columns.items():
        if isinstance(value, Mapping) and value:
            yield from (f"{name}.{inner}" for inner in value)
        else:
            yield name
