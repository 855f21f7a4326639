"""Documents, the units of the corpus, and the counts of what reading kept, dropped and changed."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Self

# ASCII's control characters without tab, line feed and carriage return. The C1 controls beyond them stay in the text as
# traces of a wrong decoding, see `modules.cleaning.filters`.
_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PLACES_KEPT = 10
_JSON = json.JSONEncoder(ensure_ascii=False, sort_keys=True)

# What may be changed in a kept document. The summary and the report show these words, each with its number.
CONTROL_CHARACTERS = "control_characters_removed"


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """An example of the corpus, and where it came from.

    Attributes:
        features: The tf.Example's features by name, e.g. `{"text": ("Once upon a time",)}`.
        content: The part that a person wrote, for filters and statistics: the whole text, or a row's own words.
            The template and the system's messages are left out because many rows share them.
        source: The name of the source, or of a file or a TFDS split.
        split: The split, where files or a column of the rows give it; "": the hash of the text decides.
        group: SHA-256 of the whole document that this document is a part of; it decides the split. Empty for a
            whole document.
        place: The exact place, for messages, e.g. `rows.jsonl, line 7`.
    """

    features: Mapping[str, tuple[str, ...]]
    content: str
    source: str
    split: str = ""
    group: bytes = b""
    place: str = dataclasses.field(default="", compare=False)

    @classmethod
    def of_text(cls, text: str, source: str, place: str = "", *, split: str = "") -> Self:
        """Returns a document of plain text."""
        return cls(features={"text": (text,)}, content=text, source=source, split=split, place=place)

    def payload(self) -> bytes:
        """Returns features and content as JSON. Only exact duplicates have equal payloads."""
        if self.features == {"text": (self.content,)}:  # most documents: the same JSON in a quarter of the time
            return f'[{{"text": [{_JSON.encode(self.content)}]}}, null]'.encode()
        content = None if self.features.get("text") == (self.content,) else self.content
        return _JSON.encode([self.features, content]).encode("utf-8")


@dataclasses.dataclass(kw_only=True)
class ReadCounts:
    """Counts of what reading kept, dropped and changed.

    Attributes:
        documents: The number of documents that were kept.
        dropped: The number of documents that were dropped, by reason.
        changed: The number of changes to kept documents, by what was done, e.g. `{CONTROL_CHARACTERS: 5}`.
        garbled: The number of characters in kept documents that a wrong decoding left.
        garbled_place: The place of the first of these documents.
        separated: The number of text files that a document separator divides, by separator.
        not_separated: The number of text files in which the separator does not occur, by separator.
        secrets: The number of findings that look like a secret, by kind.
        secret_places: The places of the first few findings, e.g. `notes.txt: e-mail address`.
        bad_rows: The messages about the first rows that cannot be used, at which the run stops.
    """

    documents: int = 0
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    changed: dict[str, int] = dataclasses.field(default_factory=dict)
    garbled: int = 0
    garbled_place: str = ""
    separated: dict[str, int] = dataclasses.field(default_factory=dict)
    not_separated: dict[str, int] = dataclasses.field(default_factory=dict)
    secrets: dict[str, int] = dataclasses.field(default_factory=dict)
    secret_places: list[str] = dataclasses.field(default_factory=list)
    bad_rows: list[str] = dataclasses.field(default_factory=list)

    def drop(self, reason: str) -> None:
        """Counts one dropped document."""
        add_up(self.dropped, {reason: 1})

    def change(self, what: str, number: int = 1) -> None:
        """Counts changes to a kept document; nothing that is taken out of a text may be left uncounted."""
        if number:
            add_up(self.changed, {what: number})

    def found_traces(self, number: int, place: str) -> None:
        """Counts characters that a wrong decoding left in a kept document."""
        if number:
            self.garbled += number
            self.garbled_place = self.garbled_place or place

    def searched_for_separator(self, separator: str, *, found: bool) -> None:
        """Counts one text file in which a document separator was searched for."""
        add_up(self.separated if found else self.not_separated, {separator: 1})

    def found_secret(self, kind: str, place: str) -> None:
        """Counts one finding, and keeps its place if it is one of the first few."""
        add_up(self.secrets, {kind: 1})
        if len(self.secret_places) < _PLACES_KEPT:
            self.secret_places.append(f"{place}: {kind}")

    def add(self, counts: Self) -> None:
        """Adds the counts of another worker."""
        self.documents += counts.documents
        add_up(self.dropped, counts.dropped)
        add_up(self.changed, counts.changed)
        self.found_traces(counts.garbled, counts.garbled_place)
        add_up(self.separated, counts.separated)
        add_up(self.not_separated, counts.not_separated)
        add_up(self.secrets, counts.secrets)
        self.secret_places = [*self.secret_places, *counts.secret_places][:_PLACES_KEPT]
        self.bad_rows += counts.bad_rows

    def as_dict(self) -> dict[str, object]:
        """Returns the counts by name, for JSON."""
        return dataclasses.asdict(self)


def add_up(total: dict[str, int], more: Mapping[str, int]) -> None:
    """Adds the counts in `more` to those of the same name in `total`."""
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def tidy(features: Mapping[str, Iterable[str]], counts: ReadCounts) -> dict[str, tuple[str, ...]]:
    r"""Removes ASCII's control characters and turns `\r\n` into `\n`. No other code changes a text.

    `{"text": ["a\r\nb\x00"]}  ->  {"text": ("a\nb",)}`, one control character removed.
    """
    return {name: tuple(_tidy_text(text, counts) for text in texts) for name, texts in features.items()}


def _tidy_text(text: str, counts: ReadCounts) -> str:
    printable, removed = _CONTROL_CHARACTERS.subn("", text)
    counts.change(CONTROL_CHARACTERS, removed)
    return printable.replace("\r\n", "\n")
