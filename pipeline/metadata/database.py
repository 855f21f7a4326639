"""Check of ML Metadata's database before it is opened, because the library's own errors do not name the file."""

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import quote

from modules.common.errors import InputError

_CURE = (
    "Restore the file from a backup; or move it away together with the folders `artifacts` of the workspace's "
    "pipelines, and run again: every node then works anew."
)


def check_database(path: Path, *, may_be_empty: bool = False) -> None:
    """Checks that a file is a whole SQLite database of ML Metadata.

    Args:
        path: The file.
        may_be_empty: Whether a database without tables passes, as a run leaves it that is killed at its very start.

    Raises:
        InputError: The file is a folder, cannot be read, is damaged, or holds something else.
    """
    if not path.is_file():
        raise InputError(f"{path} must be the database of ML Metadata, a file. Received: no file. {_CURE}")
    try:
        # SQLite rolls back what a killed run left unfinished, for which it must be able to write.
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=rw", uri=True)) as database:
            [problem] = database.execute("PRAGMA quick_check(1)").fetchone()
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):  # another run writes; ML Metadata waits for it
            return
        raise _damaged(path, str(error)) from error
    if problem != "ok":
        raise _damaged(path, problem.splitlines()[-1])
    if "MLMDEnv" not in tables and (tables or not may_be_empty):
        raise _damaged(path, "a database without the tables of ML Metadata" if tables else "an empty database")


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} must be the whole database of ML Metadata. Received: {reason}. {_CURE}")
