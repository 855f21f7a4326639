"""Temporary folder of a pipeline's runs: what TensorFlow, Beam and AutoGraph leave there goes with the run."""

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modules.common.errors import InputError

_VARIABLE = "TMPDIR"  # Python, TensorFlow's C++ and child processes read it


def temporary_path(folder: Path) -> Path:
    """Returns the path of the temporary folder of a pipeline's runs, the same for every run of a user.

    It is short, because the path of a Unix socket has at most 107 characters.

    Args:
        folder: Folder of the pipeline in the workspace; it must exist.

    Raises:
        InputError: This machine has no temporary folder that can be written.
    """
    # Containers that share the system's temporary folder may have different workspaces at the same path.
    found = os.stat(folder)
    identity = f"{found.st_dev} {found.st_ino} ".encode() + os.fsencode(folder.resolve())
    digest = hashlib.sha256(identity).hexdigest()[:12]
    try:
        return Path(tempfile.gettempdir(), f"tfx-gpt2-{os.getuid()}-{digest}")
    except OSError as error:
        raise InputError(
            f"a run needs a temporary folder that it can write. Received: {error.strerror}. Free space, or set "
            f"{_VARIABLE} to another folder."
        ) from error


@contextlib.contextmanager
def own_temporary_folder(folder: Path) -> Iterator[Path]:
    """Gives this process and its children an empty temporary folder; removes it at the end.

    Enter it before anything writes temporary files, and only with the lock of `folder`: it removes the files of a run
    that was killed.

    Args:
        folder: Folder of the pipeline in the workspace.

    Yields:
        The temporary folder.

    Raises:
        InputError: The folder cannot be created, or is a link or another user's.
    """
    path = temporary_path(folder)
    _create(path)
    _empty(path)
    before, cached = os.environ.get(_VARIABLE), tempfile.tempdir
    os.environ[_VARIABLE] = tempfile.tempdir = str(path)
    try:
        yield path
    finally:
        tempfile.tempdir = cached
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
        shutil.rmtree(path, ignore_errors=True)


def _create(path: Path) -> None:
    """Creates the folder, or checks that the existing one is this user's."""
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError as error:
        raise InputError(
            f"the temporary folder {path} of this pipeline's runs cannot be created. Received: {error.strerror}. Free "
            f"space, or set {_VARIABLE} to another folder."
        ) from error
    if stat.S_ISLNK(found.st_mode):
        kind = "a link"
    elif not stat.S_ISDIR(found.st_mode):
        kind = "a file"
    elif found.st_uid != os.getuid():
        kind = f"a folder of the user {found.st_uid}"
    else:
        path.chmod(0o700)
        return
    raise InputError(
        f"{path} must be a folder of the user who runs the pipeline, because the run keeps its temporary files there. "
        f"Received: {kind}. Remove it, or set {_VARIABLE} to another folder."
    )


def _empty(path: Path) -> None:
    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.remove(entry.path)
