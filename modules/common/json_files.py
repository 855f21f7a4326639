"""Reading and writing of JSON files on a local disk or in Cloud Storage."""

import dataclasses
import json
import math
import os
from typing import Any

from etils import epath


def write_json(folder: str | os.PathLike[str], name: str, value: Any) -> None:
    """Writes a file into a folder, which is created if it is missing.

    Args:
        folder: A path, or a URL such as `gs://bucket/path`.
        name: Name of the file.
        value: Any JSON value; dataclasses are allowed too. NaN and infinity, which JSON lacks, become null.
    """
    text = json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path = epath.Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def read_json(folder: str | os.PathLike[str], name: str) -> Any:
    """Reads a file from a folder.

    Raises:
        OSError: The folder has no such file.
    """
    path = epath.Path(folder, name)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    return json.loads(path.read_text(encoding="utf-8"))


def finite(value: Any) -> Any:
    """Returns the value with None for every NaN and infinity, also inside lists, dicts and dataclasses."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
