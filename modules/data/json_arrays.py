"""Items of a JSON array, one after another, so that a file of any size takes the memory of one item."""

import json
import re
from collections.abc import Iterator
from typing import IO, Any, NoReturn

from modules.common.errors import InputError
from modules.common.json_files import MAX_JSON_DEPTH, check_depth, check_items
from modules.data import data_files
from modules.data.bad_rows import RowError
from modules.data.encodings import DecodedFile

_READ_BYTES = 2**20
# An item that is not complete is parsed again after each reading, so readings grow with it. What was read last has not
# been measured yet when it is parsed, so they do not grow further.
_MAX_READ_BYTES = 4 * 2**20
# A value that is cut at the end of what was read is reported at most so far before this end, except strings.
_CUT_CHARACTERS = 16
_SPACE = re.compile(r"[ \t\n\r]*")
_RULE = 'each item of a .json file must be an object such as {"text": "…"}'


def read_items(
    handle: IO[bytes], path: str, encoding: str | None = None
) -> Iterator[tuple[str, dict[str, Any] | RowError]]:
    """Yields pairs (place, item) of a file that holds a list of objects; for a text or number, the error.

    The encoding of the file is found as for lines, see `data_files.decoded_lines`.

    Raises:
        InputError: The file is not such a list, or an item has more bytes, values or levels than one may have.
    """
    text = _Text(handle, path, encoding)
    if text.next_character() != "[":
        raise InputError(
            f"{path}: a .json file must hold a list of objects. Received: {text.rest[:80]}. Put the objects into one "
            "list, or name the file .jsonl if each line is one object."
        )
    text.skip(1)
    number = 0
    while text.next_character() != "]":
        if number:
            if text.next_character() != ",":
                text.fail("Expecting ',' delimiter")
            text.skip(1)
        number += 1
        place = f"{path}, row {number}"
        yield place, _next_item(text, place)
    text.skip(1)
    if text.next_character():
        text.fail("Extra data")


def _next_item(text: "_Text", place: str) -> dict[str, Any] | RowError:
    if text.next_character() in ("]", ""):
        text.fail("Expecting value")
    if text.next_character() == "[":  # to read past a list would take its memory
        raise InputError(_no_object(place, _first_value(text.rest)))
    while True:
        try:
            item, end = json.JSONDecoder().raw_decode(text.rest)
        except json.JSONDecodeError as error:
            if error.pos < len(text.rest) - _CUT_CHARACTERS and not error.msg.startswith("Unterminated string"):
                text.fail(error.msg, error.pos)
            check_items(text.rest, place)
            if len(text.rest) > data_files.MAX_DOCUMENT_BYTES:
                raise data_files.too_long(place) from None
            if not text.read_more():
                text.fail(error.msg, error.pos)
        except ValueError as error:  # a number of thousands of digits
            text.fail(str(error))
        except RecursionError:
            raise InputError(
                f"{place}: JSON may have at most {MAX_JSON_DEPTH} arrays and objects inside each other. Received: "
                "more. Correct or remove the row."
            ) from None
        else:
            if end > data_files.MAX_DOCUMENT_BYTES:
                raise data_files.too_long(place)
            brackets = text.rest.count("{", 0, end) + text.rest.count("[", 0, end)
            check_depth(item, place, brackets=brackets)
            if end == len(text.rest) and not isinstance(item, dict) and text.read_more():
                continue  # the digits of a number may go on
            text.skip(end)
            return item if isinstance(item, dict) else RowError("no_object", _no_object(place, json.dumps(item)))


def _no_object(place: str, item: str) -> str:
    return f"{place}: {_RULE}. Received: {item[:80]}. Correct or remove the row."


def _first_value(text: str) -> str:
    try:
        return json.dumps(json.JSONDecoder().raw_decode(text[:80])[0])
    except (ValueError, RecursionError):
        return text


class _Text:
    """The text of a file from a position on that moves forward; only the part that was read is in memory.

    Attributes:
        rest: The text that was read and not skipped.
    """

    def __init__(self, handle: IO[bytes], path: str, encoding: str | None):
        self.rest = ""
        self._path = path
        self._file = DecodedFile(handle, path, encoding)
        self._line = 1

    def next_character(self) -> str:
        """Skips white space, and returns the next character; "" at the end of the file."""
        while True:
            match = _SPACE.match(self.rest)
            self.skip(match.end() if match else 0)
            if self.rest or not self.read_more():
                return self.rest[:1]

    def skip(self, characters: int) -> None:
        """Moves forward."""
        self._line += self.rest.count("\n", 0, characters)
        self.rest = self.rest[characters:]

    def read_more(self) -> bool:
        """Reads about as much again as is in memory; returns False at the end of the file."""
        text = self._file.read(min(max(len(self.rest), _READ_BYTES), _MAX_READ_BYTES))
        self.rest += text
        return bool(text)

    def fail(self, reason: str, position: int = 0) -> NoReturn:
        """Raises the error for text that is not JSON, with the line of a position in `rest`."""
        line = self._line + self.rest.count("\n", 0, position)
        raise InputError(
            f"{self._path}: not valid JSON ({reason} in line {line}). Correct it, or name it .jsonl if each line is "
            "one JSON object."
        )
