"""Reading and writing of JSON files on a local disk or in Cloud Storage."""

import contextlib
import dataclasses
import json
import math
import os
import re
from collections.abc import Iterator
from typing import Any

from etils import epath

from modules.common.errors import InputError
from modules.common.files import check_regular

# A file that is parsed at once. As text it takes up to four times as much memory.
MAX_FILE_BYTES = 32 * 2**20
# An item of an array or object takes up to 250 bytes; a vocabulary of GPT-2 with its merges has 100,000 items.
MAX_JSON_ITEMS = 1_000_000
# Python's own limit, about 1,000, would be met at another depth by each function that walks through the value.
MAX_JSON_DEPTH = 100

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


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
        ValueError: The file is too large, is not UTF-8 or not JSON.
        InputError: It is a device or pipe, holds more than `MAX_JSON_ITEMS` items, or is nested deeper than
            `MAX_JSON_DEPTH`.
    """
    check_regular(path)
    with epath.Path(path).open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"more than {MAX_FILE_BYTES // 2**20} MiB")
    text = content.decode("utf-8-sig")
    check_items(text, str(path))
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep(str(path)) from None
    check_depth(value, str(path), brackets=text.count("[") + text.count("{"))
    return value


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
            f"{path} must have the content that the run wrote. Received: {reason}. Delete the folder {path.parent} and "
            "run again without `--from-node`: then the node that wrote it runs again."
        ) from error


def check_items(text: str, place: str) -> None:
    """Checks that a JSON text, which need not be valid, holds at most `MAX_JSON_ITEMS` items.

    Raises:
        InputError: It holds more.
    """
    if len(text) > MAX_JSON_ITEMS and _items(text) > MAX_JSON_ITEMS and _items(_STRING.sub("", text)) > MAX_JSON_ITEMS:
        raise InputError(
            f"{place}: JSON may hold at most {MAX_JSON_ITEMS:,} items (of arrays and objects), because it is parsed at "
            "once. Received: more. Remove what is not needed."
        )


def check_depth(value: Any, place: str, *, brackets: int) -> None:
    """Checks that a parsed value has at most `MAX_JSON_DEPTH` arrays and objects inside each other.

    Args:
        value: The value.
        place: For messages.
        brackets: Number of opening brackets in the text. A value with few of them need not be searched.

    Raises:
        InputError: The value is deeper.
    """
    level, depth = [value], 0
    while brackets > MAX_JSON_DEPTH and level:
        if depth == MAX_JSON_DEPTH:
            raise _too_deep(place)
        level = [
            item
            for parent in level
            if isinstance(parent, dict | list)
            for item in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(item, dict | list)
        ]
        depth += 1


def _items(text: str) -> int:
    return sum(map(text.count, ",[{"))


def _too_deep(place: str) -> InputError:
    return InputError(
        f"{place}: JSON may have at most {MAX_JSON_DEPTH} arrays and objects inside each other. Received: more. "
        "Write it with fewer levels."
    )


def finite(value: Any) -> Any:
    """Returns the value with None for every NaN and infinity, also inside lists, dicts and dataclasses."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
