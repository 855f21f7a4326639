"""Hashes and sizes of files, hashes of settings, fsync, and paths without the machine's folders."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from etils import epath

_CHUNK_BYTES = 2**20


def file_facts(path: epath.PathLike) -> dict[str, Any]:
    """Returns `sha256` (hexadecimal) and `size_bytes` of a file; the path may be a URL such as `gs://bucket/x`."""
    digest, size_bytes = hashlib.sha256(), 0
    with epath.Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return {"sha256": digest.hexdigest(), "size_bytes": size_bytes}


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
                digest.update(file.read_bytes() if file.is_file() else b"")
        elif path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def folder_size_bytes(folder: str | os.PathLike[str]) -> int:
    """Returns the size of all files in a folder and its subfolders; the folder may be a URL such as `gs://bucket/x`."""
    return sum((parent / name).stat().length for parent, _, names in epath.Path(folder).walk() for name in names)


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
