"""The kinds of data files, and their lines as text: plain or compressed, in bounded memory.

An error names the file, the line and the byte that cannot be read.
"""

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from typing import IO, cast

from modules.common.errors import InputError
from modules.common.failures import check_path, shortened
from modules.data.encodings import DecodedFile

TEXT_KINDS = (".txt", ".md")
ROW_KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
# Endings of compressed files, after that of their kind.
COMPRESSED = (".gz", ".zst")
# Formats that compress themselves.
_UNCOMPRESSED = (".parquet", ".arrow")
FILE_KINDS = (*TEXT_KINDS, *ROW_KINDS)

# A whole document is held in memory, and tokenizing it takes about 30 times its size. A corpus is never held whole.
MAX_DOCUMENT_BYTES = 16 * 2**20

_READ_BYTES = 2**20


def file_kind(path: str) -> str:
    """Returns the file's kind: `.txt` for `a.txt`, `a.txt.gz` and `a.txt.zst`.

    Raises:
        InputError: The name does not end in one of `FILE_KINDS`.
    """
    name = os.path.basename(path).lower()
    plain = os.path.splitext(name)[0] if name.endswith(COMPRESSED) else name
    kind = os.path.splitext(plain)[1]
    if kind not in FILE_KINDS or (kind in _UNCOMPRESSED and plain != name):
        raise InputError(
            f"A data file must end in one of {', '.join(FILE_KINDS)}, or in the same with {' or '.join(COMPRESSED)} "
            f"(but not Parquet and Arrow, which compress themselves). Received: {path}. Narrow the glob or convert the "
            "file."
        )
    return kind


@contextlib.contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """Opens a plain, gzip or Zstandard file for reading.

    Raises:
        InputError: The file is missing, unreadable or damaged. Damage may be found only while reading.
    """
    try:
        check_path(path)
    except ValueError as error:
        raise InputError(f"A data file needs a path that can exist: {error}. Received: {shortened(path)!r}.") from None
    try:
        with _decompressed(path) as handle:
            yield handle
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path} is not a whole gzip file ({error}). Test it with `gzip -t`, then copy it again."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


@contextlib.contextmanager
def _decompressed(path: str) -> Iterator[IO[bytes]]:
    if path.lower().endswith(".zst"):
        import pyarrow as pa

        with pa.input_stream(path, compression="zstd") as stream, io.BufferedReader(stream, 2**20) as handle:
            yield cast(IO[bytes], handle)
        return
    with gzip.open(path, "rb") if path.lower().endswith(".gz") else open(path, "rb") as handle:
        yield cast(IO[bytes], handle)  # a GzipFile reads like one


def decoded_lines(handle: IO[bytes], path: str, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """Yields pairs (line number from 1, line with its `\\n`).

    The byte order mark is removed, and so is a `\\r` before `\\n`.

    Args:
        handle: The file, at its beginning.
        path: For messages.
        encoding: The encoding of a file without a byte order mark; None: UTF-8.

    Raises:
        InputError: The file is in another encoding, or a line is longer than a document may be.
    """
    file = DecodedFile(handle, path, encoding)
    number, begun = 1, ""
    while text := file.read(_READ_BYTES):
        first, *others = text.split("\n")
        begun += first
        for following in others:
            if len(begun) > MAX_DOCUMENT_BYTES:
                break
            yield number, begun.removesuffix("\r") + "\n"
            number, begun = number + 1, following
        if len(begun) > MAX_DOCUMENT_BYTES:
            raise too_long(f"{path}, line {number}")
    if begun:
        yield number, begun


def check_size(text: str, place: str) -> None:
    """Checks that a document is short enough to be held in memory.

    Raises:
        InputError: The document is longer than `MAX_DOCUMENT_BYTES`.
    """
    # A character takes at most 4 bytes, so a short text need not be encoded to be measured.
    if 4 * len(text) > MAX_DOCUMENT_BYTES and len(text.encode("utf-8")) > MAX_DOCUMENT_BYTES:
        raise too_long(place)


def too_long(place: str) -> InputError:
    """Returns the error for a document that is too long to be held in memory."""
    return InputError(
        f"{place}: a document must be at most {MAX_DOCUMENT_BYTES // 2**20} MiB. "
        'For .txt and .md files set `document_separator` ("blank_line" or a literal string), or, without a separator, '
        "`split_long_documents`."
    )
