"""Encodings of text files: byte order marks, names of encodings, and decoding in bounded memory.

A byte order mark decides. A file without a mark is read in `data.encoding`, or else as UTF-8.
"""

import codecs
import difflib
import encodings.aliases
from typing import IO, Annotated

import pydantic

from modules.common.errors import InputError
from modules.common.failures import shortened
from modules.data import encoding_errors

UTF8 = "utf-8"
# UTF-32's mark begins with that of UTF-16, so it is tried first.
_MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MARK_BYTES = 4
# Codecs of names of hosts, and one that refuses everything: they cannot read a file.
_NO_FILES = ("idna", "punycode", "undefined", "mbcs", "oem")
# Python's names for both byte orders need a mark. Without one, the order is that of Windows.
_ORDERS = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}
_ASCII = bytes(range(32, 127))


def check_encoding(name: str) -> str:
    """Returns the name if Python can read files in this encoding.

    Raises:
        ValueError: It cannot; the message ends with names that work.
    """
    try:
        codec = codecs.lookup(name)
        if not codec._is_text_encoding or codec.incrementaldecoder is None or codec.name in _NO_FILES:
            raise LookupError
    except (LookupError, ValueError):
        known = sorted({alias.replace("_", "-") for alias in encodings.aliases.aliases.values()})
        near = difflib.get_close_matches(shortened(name.lower()), known, n=1, cutoff=0.6)
        raise ValueError(
            "`encoding` must be the name of a text encoding of Python, e.g. cp1252 (Windows, Western Europe), "
            "latin-1, utf-16, shift_jis or gb18030" + (f"; did you mean {near[0]}" if near else "")
        ) from None
    return name


# A setting for the name of an encoding.
Encoding = Annotated[str, pydantic.AfterValidator(check_encoding)]


class DecodedFile:
    """Text of a file that is read in chunks from its beginning to its end.

    Attributes:
        encoding: The encoding that the mark, the setting or UTF-8 decides.
        line: Number of the line in which the next chunk begins.
    """

    def __init__(self, handle: IO[bytes], path: str, encoding: str | None = None):
        """Reads the byte order mark.

        Args:
            handle: The file, at its beginning.
            path: For messages.
            encoding: The encoding of a file without a mark; None: UTF-8.
        """
        self._handle, self._path = handle, path
        head = handle.read(_MARK_BYTES)
        mark, marked = next(((mark, codec) for mark, codec in _MARKS if head.startswith(mark)), (b"", None))
        self._head = head.removeprefix(mark)
        self._read_bytes = len(mark)
        self._recent = b""
        self._non_ascii = False
        self._is_marked = marked is not None
        name = codecs.lookup(encoding or UTF8).name
        self.encoding = marked or _ORDERS.get(name, name)
        self._decoder = codecs.getincrementaldecoder(self.encoding)()
        self._doubt = None if marked or self.encoding in (UTF8, "ascii", "utf-8-sig") else _Doubt(self.encoding)
        self.line = 1

    def read(self, size_bytes: int) -> str:
        """Returns the text of about so many more bytes, "" at the end of the file.

        Raises:
            InputError: The file is in another encoding, or cut off; the message ends with the cure.
        """
        while True:
            raw = self._head + self._handle.read(size_bytes)
            self._head = b""
            text = self._decoded(raw)
            if text or not raw:
                self.line += text.count("\n")
                return text

    def _decoded(self, raw: bytes) -> str:
        self._read_bytes += len(raw)
        try:
            text = self._decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            raise self._error(error, raw) from None
        if not self._recent and self._doubt is None and self.encoding == UTF8 and b"\0" in raw:
            encoding_errors.check_no_wide_characters(raw, self._path)
        if self._doubt is not None and self._doubt.is_utf8(raw):
            raise encoding_errors.is_utf8(self._path, self.encoding, self._doubt.sample)
        self._recent = (self._recent + raw)[-encoding_errors.SAMPLE_BYTES :]
        self._non_ascii = self._non_ascii or not text.isascii()
        return text

    def _error(self, error: UnicodeDecodeError, raw: bytes) -> InputError:
        """Returns the error for bytes that are not in the encoding of the file."""
        position = self._read_bytes - len(error.object) + error.start
        before = error.object[: error.start].decode(self.encoding, "ignore")
        known = self._recent + raw
        # A character of UTF-16 and UTF-32 begins at a multiple of its size.
        known = known[-(self._read_bytes - len(known)) % 4 :]
        start = max(0, position - self._read_bytes + len(known))
        line = self.line + before.count("\n")
        return encoding_errors.undecodable(
            encoding_errors.Undecodable(
                path=self._path,
                encoding=self.encoding,
                is_marked=self._is_marked,
                line=line,
                position=position,
                byte=error.object[error.start],
                reason=error.reason,
                bytes=known + (self._handle.read(encoding_errors.SAMPLE_BYTES) if raw else b""),
                start=start,
                first_line=line - known.count(b"\n", 0, start),
                at_end=not raw,
                non_ascii_before=self._non_ascii or not before.isascii(),
            )
        )


class _Doubt:
    """Check of a file that is read in an encoding of the settings: it may be UTF-8 all the same.

    A file of a corpus in several encodings would be garbled in silence: hardly a text in another encoding with
    characters beyond ASCII is valid UTF-8, too.

    Attributes:
        sample: Bytes of the file with such characters.
    """

    def __init__(self, encoding: str):
        self._decoder = codecs.getincrementaldecoder(UTF8)()
        self._ascii_is_same = _ASCII.decode(encoding, "replace") == _ASCII.decode()
        self._is_open = True
        self.sample = b""

    def is_utf8(self, raw: bytes) -> bool:
        """Returns True at the end of a file (`raw` is empty then) that is UTF-8 and reads differently in this way."""
        if not self._is_open:
            return False
        try:
            self._decoder.decode(raw, final=not raw)
            self._is_open = b"\0" not in raw
        except UnicodeDecodeError:
            self._is_open = False
        if not self.sample and not (self._ascii_is_same and raw.isascii()):
            self.sample = raw
        return self._is_open and not raw and bool(self.sample)
