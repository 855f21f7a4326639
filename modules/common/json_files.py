"""Reading and writing of JSON files on a local disk or in Cloud Storage."""

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Iterator
from typing import Any

from etils import epath

from modules.common.errors import InputError

# A tokenizer.json of 250,000 tokens has 17 MB.
MAX_FILE_BYTES = 32 * 2**20


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
        InputError: The file is not JSON.
    """
    with reading(folder, name) as content:
        return content


def parse_file(path: epath.PathLike) -> Any:
    """Reads a JSON file that people bring, such as a tokenizer.json, in bounded memory.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is too large, is not UTF-8 or not JSON, or is nested too deeply.
    """
    with epath.Path(path).open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"more than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("values that are nested too deeply") from None


@contextlib.contextmanager
def reading(folder: str | os.PathLike[str], name: str) -> Iterator[Any]:
    """Yields the content of a file in a folder; an error about this content inside the block names the file.

    Raises:
        OSError: The folder has no such file.
        InputError: The file is not JSON, or the block found that it lacks a value or has one of another type.
    """
    path = epath.Path(folder, name)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except InputError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = ", ".join(f"{type(error).__name__}: {error}".splitlines()[:3])
        raise InputError(
            f"{path} must have the content that the run wrote. Received: {reason}. Run the node that wrote it again, "
            "with `--from-node`."
        ) from error


def finite(value: Any) -> Any:
    """Returns the value with None for every NaN and infinity, also inside lists, dicts and dataclasses."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
