"""Faults that tests cause on purpose."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def flipped_byte(path: Path, place: int) -> Iterator[None]:
    """Changes one byte of a file, keeping its size and times; restores the file afterwards.

    Args:
        path: The file; it must not be empty.
        place: Number of the byte, modulo the size.
    """
    content = path.read_bytes()
    place %= len(content)
    path.write_bytes(content[:place] + bytes([content[place] ^ 0x01]) + content[place + 1 :])
    try:
        yield
    finally:
        path.write_bytes(content)
