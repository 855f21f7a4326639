"""What identifies a file and makes it last, and what of a path is for others."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any


def file_facts(path: str | Path) -> dict[str, Any]:
    """Returns `sha256` (hexadecimal) and `size_bytes` of a file."""
    with open(path, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size_bytes": Path(path).stat().st_size}


def flush_to_disk(path: str | Path) -> None:
    """Makes what was written into a file, or a rename into a folder, last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def without_folders(value: Any) -> Any:
    """Settings with every absolute path cut down to its last part: a report is for others than this machine's users.

    `{"data": {"source": "/home/someone/texts/*.txt"}}` becomes `{"data": {"source": "…/*.txt"}}`.
    """
    if isinstance(value, Mapping):
        return {name: without_folders(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(one) for one in value]
    # "/" alone, or "/text", may as well be a separator.
    if isinstance(value, str) and value.startswith(("/", "~/")) and len(PurePath(value).parts) > 2:
        return f"…/{PurePath(value).name}"
    return value
