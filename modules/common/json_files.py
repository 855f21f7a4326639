"""JSON beside an artifact's data, on a local disk or in Cloud Storage."""

import dataclasses
import json
import math
import os
from typing import Any


def write_json(folder: str | os.PathLike[str], name: str, value: Any) -> None:
    """Writes a file into a folder, which is made if need be.

    Args:
        folder: A path, or a URL such as `gs://bucket/path`.
        name: Of the file.
        value: What JSON can hold, and dataclasses; NaN and infinity, which JSON has not, become null.
    """
    text = json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path = os.path.join(folder, name)
    if _is_remote(path):
        import tensorflow as tf

        with tf.io.gfile.GFile(path, "w") as file:
            file.write(text)
        return
    os.makedirs(folder, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def read_json(folder: str | os.PathLike[str], name: str) -> Any:
    """Reads a file from a folder.

    Raises:
        OSError: There is none.
    """
    path = os.path.join(folder, name)
    if _is_remote(path):
        import tensorflow as tf

        if not tf.io.gfile.exists(path):
            raise FileNotFoundError(f"there is no {path}")
        with tf.io.gfile.GFile(path) as file:
            return json.loads(file.read())
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def finite(value: Any) -> Any:
    """The same with None for every NaN and infinity, in lists, dicts and dataclasses too."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_remote(path: str) -> bool:
    return "://" in path
