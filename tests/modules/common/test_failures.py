"""Errors of paths and disks become sentences."""

import errno
import os
from pathlib import Path

import pytest

from modules.common import failures


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must not be empty"),
        (" ", "must not be empty"),
        ("a\0b", "must not contain the character NUL"),
        ("a/" + "ä" * 128, r"each part at most 255 \(the longest part has 256\)"),
        ("a/" * 2048, "at most 4,095 bytes long"),
        ("\ud800", "must be text that UTF-8 can hold"),
    ],
)
def test_impossible_paths_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        failures.check_path(text)
    assert failures.check_path("a/" + "ä" * 127) == Path("a/" + "ä" * 127)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOENT, "a.txt must be a file or folder that exists. Correct the path. Received: No such file"),
        (errno.EISDIR, "a.txt must be a file, and it is a folder. Correct the path. Received: Is a directory."),
        (errno.EACCES, "a.txt must be readable and writable. Change its permissions, or choose another path."),
        (errno.EROFS, "a.txt must be on a disk that can be written. Choose another path. Received: Read-only file"),
    ],
)
def test_an_error_about_a_path_is_a_sentence(number: int, message: str) -> None:
    assert message in str(failures.path_error(OSError(number, os.strerror(number), "a.txt")))
    assert failures.path_error(OSError(number, os.strerror(number))) is None
    assert failures.path_error(BrokenPipeError(errno.EPIPE, "Broken pipe", "a.txt")) is None


@pytest.mark.parametrize(
    "cause",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("OSError: [Errno 28] No space left on device [while running 'Write']"),
        RuntimeError("Error when executing query: database or disk is full"),
    ],
)
def test_a_full_disk_is_found_in_a_chain_of_exceptions(tmp_path: Path, cause: Exception) -> None:
    def fail() -> None:
        try:
            raise cause
        except Exception:
            try:
                raise KeyError("during the handling")
            except KeyError as error:
                raise ValueError("last") from error

    with pytest.raises(ValueError, match="last") as raised:
        fail()
    assert "Received: a full disk, with " in str(failures.disk_error(raised.value, tmp_path))
    assert failures.disk_error(ValueError("memory is full"), tmp_path) is None


def test_reserved_space_is_free_again_at_the_end(tmp_path: Path) -> None:
    with failures.reserved_space(tmp_path):
        assert list(tmp_path.iterdir()) == []
    assert failures.free_bytes(tmp_path / "none" / "none") > 0
