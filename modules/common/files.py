"""Hashes and sizes of files, hashes of settings, fsync, and paths without the machine's folders."""

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from etils import epath

from modules.common.errors import InputError

_CHUNK_BYTES = 2**20


def file_facts(path: epath.PathLike) -> dict[str, Any]:
    """Returns `sha256` (hexadecimal) and `size_bytes` of a file; the path may be a URL such as `gs://bucket/x`."""
    digest = hashlib.sha256()
    size_bytes = _add_file(digest, path)
    return {"sha256": digest.hexdigest(), "size_bytes": size_bytes}


def folder_hashes(folder: epath.PathLike, belongs: Callable[[str], bool] = lambda path: True) -> dict[str, str]:
    """Returns the SHA-256 of every file in a folder and its subfolders, by path relative to the folder, with `/`.

    Args:
        folder: A path, or a URL such as `gs://bucket/x`; a folder that does not exist has no files.
        belongs: Whether to hash the file at this relative path; by default all files are hashed.
    """
    root = epath.Path(folder)
    files = sorted(parent / name for parent, _, names in root.walk() for name in names)
    paths = {path.relative_to(root).as_posix(): path for path in files}
    return {name: file_facts(path)["sha256"] for name, path in paths.items() if belongs(name)}


def differing_files(expected: Mapping[str, str | None], found: Mapping[str, str]) -> list[str]:
    """Returns the paths, sorted, that are in only one of two results of `folder_hashes`, or have different hashes."""
    return sorted(
        path
        for path in expected.keys() | found.keys()
        if path not in expected or path not in found or expected[path] != found[path]
    )


def hash_settings(settings: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of settings and of the files and folders that they name, as 64 hexadecimal digits.

    Only the text is hashed of a value that is not a path on this machine, such as a preset's name.
    """
    digest = hashlib.sha256()
    for key, value in sorted(settings.items()):
        path = Path(str(value))
        digest.update(f"{key}={value};".encode())
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    _add_file(digest, file)
        elif path.is_file():
            _add_file(digest, path)
    return digest.hexdigest()


def _add_file(digest: "hashlib._Hash", path: epath.PathLike) -> int:
    """Adds a file's content to a hash, in bounded memory; returns its bytes."""
    size_bytes = 0
    with epath.Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return size_bytes


def check_regular(path: epath.PathLike) -> None:
    """Checks that a path is not a device or a pipe: reading a pipe would wait, and /dev/zero never ends.

    Raises:
        OSError: The file is missing.
        InputError: The path is a device, a pipe or a folder.
    """
    if is_local(path) and not stat.S_ISREG(os.stat(path).st_mode):
        raise InputError(f"{path}: must be a regular file. Received: a folder, pipe or device. Correct the path.")


def folder_size_bytes(folder: str | os.PathLike[str]) -> int:
    """Returns the size of all files in a folder and its subfolders; the folder may be a URL such as `gs://bucket/x`."""
    return sum((parent / name).stat().length for parent, _, names in epath.Path(folder).walk() for name in names)


def copy_folder(source: epath.PathLike, target: epath.PathLike) -> None:
    """Copies the content of a folder into another folder, which is created if it is missing; both may be URLs."""
    epath.Path(target).mkdir(parents=True, exist_ok=True)
    for path in epath.Path(source).iterdir():
        copy = epath.Path(target, path.name)
        if path.is_dir():
            copy_folder(path, copy)
        else:
            path.copy(copy, overwrite=True)


def is_local(path: epath.PathLike) -> bool:
    """Returns False for a URL such as `gs://bucket/x`."""
    return "://" not in os.fspath(path)


def local_copy(path: epath.PathLike, folder: str | os.PathLike[str]) -> str:
    """Returns the path of a file or folder on this machine, for libraries that open only local paths.

    Args:
        path: Returned as it is if it is local; otherwise a URL such as `gs://bucket/x`, which is copied.
        folder: Where the copy is put, under the name of the original.
    """
    if is_local(path):
        return os.fspath(path)
    source, copy = epath.Path(path), epath.Path(folder, epath.Path(path).name)
    if source.is_dir():
        copy_folder(source, copy)
    else:
        source.copy(copy)
    return os.fspath(copy)


@contextlib.contextmanager
def written_locally(folder: epath.PathLike) -> Iterator[str]:
    """Yields a folder on this machine for libraries that write only local paths.

    Args:
        folder: Yielded itself if it is local, and created if it is missing. Otherwise a URL such as `gs://bucket/x`,
            into which the written files are copied at the end.
    """
    if is_local(folder):
        os.makedirs(folder, exist_ok=True)
        yield os.fspath(folder)
        return
    with tempfile.TemporaryDirectory() as local:
        yield local
        copy_folder(local, folder)


def flush_to_disk(path: str | Path) -> None:
    """Writes a file's content, or a rename in a folder, to disk, so that it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def without_folders(value: Any) -> Any:
    """Returns settings with only the last part of every absolute path, for readers on other machines.

    `{"data": {"source": "/home/someone/texts/*.txt"}}` becomes `{"data": {"source": "…/*.txt"}}`.
    """
    if isinstance(value, Mapping):
        return {name: without_folders(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    # "/" and "/text" may also be separators of documents.
    if isinstance(value, str) and value.startswith(("/", "~/")) and len(PurePath(value).parts) > 2:
        return f"…/{PurePath(value).name}"
    return value
