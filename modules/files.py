"""What identifies a file."""

import hashlib
from pathlib import Path
from typing import Any


def file_facts(path: str | Path) -> dict[str, Any]:
    """Returns `sha256` (hexadecimal) and `size_bytes` of a file."""
    with open(path, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size_bytes": Path(path).stat().st_size}
