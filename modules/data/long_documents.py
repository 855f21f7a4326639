"""Cuts long documents into parts at the borders of paragraphs, also those that do not fit into memory."""

import dataclasses
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator

from modules.data.data_files import decoded_lines, opened
from modules.data.documents import Document, ReadCounts, tidy

# What reading counts: documents that were cut, and the parts that they became.
CUT, PARTS = "long_documents_cut", "parts_of_long_documents"

# The best border comes first. The white space after a border belongs to the part before it.
_BORDERS = (
    re.compile(r"\n[^\S\n]*\n\s*"),  # paragraph
    re.compile(r"\n"),  # line
    re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？]+[」』”’）]*"),  # sentence
    re.compile(r"\s+"),  # word
)


def cut(pieces: Iterable[str], limit: int) -> Iterator[str]:
    r"""Yields parts of at most `limit` characters; joined, they are exactly the joined pieces.

    Each part is as long as possible and ends at the border of a paragraph; a longer paragraph is cut at the end of a
    line, or else of a sentence, or else of a word, or else after `limit` characters. With `limit = 12`:

    ```
    "One.\n\nTwo.\n\nThree. Four. Five."     "One.\n\nTwo.\n\n", "Three. ", "Four. Five."
    ```

    Args:
        pieces: The text in pieces of any length; about one piece and one part are in memory.
        limit: Largest number of characters in a part.
    """
    rest = ""
    for piece in pieces:
        rest += piece
        start = 0
        while len(rest) - start > limit:
            end = start + _border(rest[start : start + limit + 1])
            yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest:
        yield rest


def _border(window: str) -> int:
    """Returns the place, from 1, at which a text is cut whose beginning is `window`; the last character stays out."""
    limit = len(window) - 1
    for border in _BORDERS:
        ends = [match.end() for match in border.finditer(window, 0, limit)]
        if ends and not window[: ends[-1]].isspace():
            return ends[-1]
    end = limit
    while end > 1 and unicodedata.combining(window[end]):  # an accent stays with its letter
        end -= 1
    return end


def parts_of(document: Document, limit: int | None, counts: ReadCounts) -> Iterator[Document]:
    """Yields a document of plain text, or its parts if it has more than `limit` characters, and counts them.

    The parts share the `group`, so that the whole document decides their split.
    """
    if limit is None or len(document.content) <= limit:
        yield document
        return
    group = hashlib.sha256(document.payload()).digest()
    yield from _parts(document, cut([document.content], limit), group, counts)


def read_long_text(
    path: str, limit: int, source: str, counts: ReadCounts, encoding: str | None = None
) -> Iterator[Document]:
    """Streams the parts of a plain text file of any size; a file of at most `limit` characters is one document.

    A longer file is read twice: the hash of the whole file decides the split of the first part.

    Args:
        path: A file of plain text.
        limit: Largest number of characters in a part.
        source: The `source` of the documents.
        counts: Reading adds to these counts.
        encoding: The encoding of a file without a byte order mark; None: UTF-8.

    Raises:
        InputError: The file is missing, damaged or in another encoding, or a line is too long.
    """
    place = f"{path}, line 1"
    digest = hashlib.sha256(b'[{"text": ["')
    held: list[str] = []
    characters = 0
    for text in _tidy_lines(path, counts, encoding):
        characters += len(text)
        digest.update(json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8"))
        if characters <= limit:
            held.append(text)
    if characters <= limit:
        yield Document.of_text("".join(held), source, place)
        return
    digest.update(b'"]}, null]')  # so it is the hash that the document has if it is not cut
    whole = Document.of_text("", source, place)
    yield from _parts(whole, cut(_tidy_lines(path, ReadCounts(), encoding), limit), digest.digest(), counts)


def _tidy_lines(path: str, counts: ReadCounts, encoding: str | None) -> Iterator[str]:
    with opened(path) as handle:
        for _, line in decoded_lines(handle, path, encoding):
            (text,) = tidy({"text": [line]}, counts)["text"]
            yield text


def _parts(document: Document, texts: Iterable[str], group: bytes, counts: ReadCounts) -> Iterator[Document]:
    counts.change(CUT)
    for number, text in enumerate(texts, start=1):
        counts.change(PARTS)
        yield dataclasses.replace(
            document,
            features={"text": (text,)},
            content=text,
            group=group,
            place=f"{document.place}, part {number}",
        )
