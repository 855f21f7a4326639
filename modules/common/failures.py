"""Sentences about failures of paths and disks, for people who can mend them."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modules.common.errors import InputError

# The limits of a path on Linux and macOS.
_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 4095

# A log's last lines, the event of the failure, and the record of the failed node in ML Metadata.
_RESERVED_BYTES = 2**20

# With more free space, something else than the size of the disk is the limit.
_ENOUGH_BYTES = 2**30

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# TensorFlow, Beam, HDF5 and SQLite report a full disk only in the text of their own exceptions.
_DISK_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "database or disk is full")

_CURES = {
    errno.ENOENT: "a file or folder that exists. Correct the path",
    errno.ENOTDIR: "below folders only, and a part of it is a file. Correct the path",
    errno.EISDIR: "a file, and it is a folder. Correct the path",
    errno.EEXIST: "free, and something else has this name. Move it away, or choose another path",
    errno.EACCES: "readable and writable. Change its permissions, or choose another path",
    errno.EPERM: "readable and writable. Change its permissions, or choose another path",
    errno.EROFS: "on a disk that can be written. Choose another path",
    errno.ENAMETOOLONG: f"at most {_MAX_NAME_BYTES} bytes long in each part. Choose a shorter path",
    errno.ELOOP: "free of links that point to themselves. Remove the link, or choose another path",
}


def check_path(text: str) -> Path:
    """Returns the path that a person wrote.

    Raises:
        ValueError: No file can have this path. The message is the rule and the cure, without a full stop.
    """
    if not text or text.isspace():
        raise ValueError("a path must not be empty: write `.` for the current folder")
    if "\0" in text:
        raise ValueError("a path must not contain the character NUL: remove it")
    try:
        longest = max(map(len, map(os.fsencode, text.split("/"))))
    except UnicodeEncodeError:
        raise ValueError("a path must be text that UTF-8 can hold: correct the path") from None
    if longest > _MAX_NAME_BYTES or len(os.fsencode(text)) > _MAX_PATH_BYTES:
        raise ValueError(
            f"a path must be at most {_MAX_PATH_BYTES:,} bytes long, and each part at most {_MAX_NAME_BYTES} (the "
            f"longest part has {longest:,}): choose a shorter path"
        )
    return Path(text)


def path_error(error: OSError) -> InputError | None:
    """Returns the sentence for an error about a path; None if the error names no path or is of another kind."""
    if error.filename is None or error.errno not in _CURES:
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    return InputError(f"{shortened(name)} must be {_CURES[error.errno]}. Received: {error.strerror}.")


def disk_error(error: BaseException, folder: Path) -> InputError | None:
    """Returns the sentence for an error that a full disk has caused; None for other errors.

    Args:
        error: An exception; its causes and contexts are searched too.
        folder: Folder of the work. Its disk is named if the error names no file, unless the disk of temporary files has
            less space left.
    """
    for found in exceptions(error):
        if _means_full_disk(found):
            named = found.filename if isinstance(found, OSError) else None
            return disk_sentence(Path(named).parent if isinstance(named, str) else folder)
    return None


def disk_sentence(folder: Path) -> InputError:
    """Returns the sentence about a full disk: that of the folder or that of temporary files."""
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError:  # no folder for temporary files can be written: all of them may be on the full disk
        temporary = folder
    full = min((folder, temporary), key=free_bytes)
    cure = "set TMPDIR to a folder on another disk" if full == temporary != folder else "set another `workspace`"
    return InputError(
        f"the disk of {full.absolute()} must have room for what a run writes: examples, checkpoints and models, "
        "several times the size of the text and of the model. Received: a full disk, with "
        f"{free_bytes(full) // 1000:,} kB free{_perhaps(full)}. Free some space or {cure}; then run the same command "
        "again, which resumes a run."
    )


def _perhaps(full: Path) -> str:
    return " (perhaps by a quota, or by too many files)" if free_bytes(full) > _ENOUGH_BYTES else ""


@contextlib.contextmanager
def reserved_space(folder: Path) -> Iterator[None]:
    """Keeps a part of the folder's disk free of other files, for the last words of a run that fills the disk.

    The file that takes the space has no name, so it disappears with this process, even on SIGKILL.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_RESERVED_BYTES))
        file.flush()
        yield


def free_bytes(path: Path) -> int:
    """Returns the free space on the disk of a path; for a path that does not exist, of its nearest folder."""
    return shutil.disk_usage(nearest_folder(path)).free


def nearest_folder(path: Path) -> Path:
    """Returns the path itself, or the nearest of its parents, that exists."""
    absolute = path.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if folder.exists())


def exceptions(error: BaseException) -> Iterator[BaseException]:
    """Yields an exception, its causes and its contexts, nearest first."""
    waiting, seen = [error], set()
    while waiting:
        found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [cause for cause in (found.__cause__, found.__context__) if cause is not None]


def _means_full_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return True
    return any(text in str(error) for text in _DISK_FULL_TEXTS)


def shortened(text: str) -> str:
    """Returns the text, or its beginning and an ellipsis if it is too long for a message."""
    return text if len(text) <= 120 else f"{text[:117]}…"
