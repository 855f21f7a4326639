"""Rows that cannot be used: all of them are reported at once, or left out, counted by reason and kept in a file."""

import json
import os
import shutil
import types
from collections.abc import Mapping, Sequence
from typing import IO, Any, Literal, Self

from etils import epath

from modules.common.errors import InputError
from modules.data.documents import ReadCounts

OnBadRow = Literal["stop", "drop"]
# The file in the folder of the examples that holds the rows that were left out, one JSON object per line.
REJECTED_FILE = "rejected.jsonl"
# Rows that one message reports.
REPORTED_ROWS = 20
_EXCERPT_CHARACTERS = 1_000


class RowError(InputError):
    """An error about one row of a file. The other rows of the file can still be read.

    Attributes:
        reason: Its short name, e.g. `missing_column`, under which such rows are counted.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (self.reason, str(self))


class BadRowsError(InputError):
    """The error about all rows that cannot be used.

    Attributes:
        messages: The message of each row.
    """

    def __init__(self, messages: Sequence[str]):
        cure = "leave out such rows, which are then counted, with `--set data.on_bad_row=drop`"
        if len(messages) == 1:
            text = f"{messages[0]} Or {cure}."
        else:
            number = len(messages)
            found = f"{number} rows" if number < REPORTED_ROWS else f"The first {number} rows that were found"
            text = "\n- ".join([f"{found} cannot be used. Correct them, or {cure}:", *messages])
        super().__init__(text)
        self.messages = tuple(messages)

    def __reduce__(self) -> tuple[type[Self], tuple[Sequence[str]]]:
        return type(self), (self.messages,)


class BadRows:
    """Collector of the rows that cannot be used; a context manager that closes its file.

    Example:
        >>> counts = ReadCounts()
        >>> with BadRows("drop", counts) as bad_rows:
        ...     bad_rows.add("a.jsonl, line 7", RowError("missing_column", "…"), {"body": "Hi"})
        >>> counts.dropped
        {'bad_row_missing_column': 1}
    """

    def __init__(self, on_bad_row: OnBadRow, counts: ReadCounts, rejected_path: str | None = None):
        """Opens nothing yet.

        Args:
            on_bad_row: `stop` collects the messages for one error. `drop` counts and writes the rows.
            counts: Rows that are left out are added to these counts.
            rejected_path: The file of the rows that are left out, a path or a URL; None: they are only counted.
        """
        self._drops = on_bad_row == "drop"
        self._counts = counts
        self._path = rejected_path
        self._file: IO[bytes] | None = None
        self._messages: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, place: str, error: RowError, row: object = None) -> None:
        """Counts and writes a row, or keeps its message.

        Args:
            place: The row's file and line.
            error: What is wrong with it.
            row: The row, if it was read.

        Raises:
            BadRowsError: With `stop`, when `REPORTED_ROWS` rows were found.
        """
        if self._drops:
            self._counts.drop(f"bad_row_{error.reason}")
            self._write(place, error, row)
            return
        self._messages[place] = str(error)
        if len(self._messages) == REPORTED_ROWS:
            self.check()

    @property
    def messages(self) -> list[str]:
        """The messages of the rows that stop the run; empty with `drop`."""
        return list(self._messages.values())

    def check(self) -> None:
        """Checks that no row stops the run.

        Raises:
            BadRowsError: There are such rows.
        """
        check_bad_rows(self.messages)

    def _write(self, place: str, error: RowError, row: object) -> None:
        if self._path is None:
            return
        if self._file is None:
            path = epath.Path(self._path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")
        line = json.dumps(rejected_row(place, error, row), ensure_ascii=False)
        self._file.write(line.encode("utf-8", "backslashreplace") + b"\n")  # a lone surrogate becomes \\ud800


def check_bad_rows(messages: Sequence[str]) -> None:
    """Checks that there are no messages about rows that cannot be used.

    Raises:
        BadRowsError: There are some; it holds the first `REPORTED_ROWS` of them.
    """
    if messages:
        raise BadRowsError(messages[:REPORTED_ROWS])


def rejected_path(directory: str, piece: str) -> str:
    """Returns the file of the rows of one piece of work that are left out, in a folder that all pieces share."""
    return os.path.join(directory, "rejected", f"{piece}.jsonl")


def join_rejected(directory: str, folder: str) -> None:
    """Joins the files of all pieces to `REJECTED_FILE` in a folder; if no row was left out, there is no such file."""
    paths = sorted(epath.Path(directory, "rejected").glob("*.jsonl"))
    if not paths:
        return
    with epath.Path(folder, REJECTED_FILE).open("wb") as joined:
        for path in paths:
            with path.open("rb") as file:
                shutil.copyfileobj(file, joined)


def rejected_row(place: str, error: RowError, row: object) -> Mapping[str, Any]:
    """Returns the line of `REJECTED_FILE` about a row.

    `{"file": "a.jsonl", "line": 7, "reason": "missing_column", "message": "…", "content": "{\\"body\\": \\"Hi\\"}"}`;
    the content is JSON text, cut to 1,000 characters. A row that could not be parsed is quoted in the message.
    """
    file, _, where = place.rpartition(", ")
    unit, _, number = where.partition(" ")
    text = None if row is None else json.dumps(row, ensure_ascii=False, default=str)
    return {
        "file": file,
        unit: int(number) if number.isdigit() else where,
        "reason": error.reason,
        "message": str(error),
        "content": text if text is None or len(text) <= _EXCERPT_CHARACTERS else f"{text[:_EXCERPT_CHARACTERS]}…",
    }
