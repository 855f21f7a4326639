"""What the corpus is made of: documents, and the counts of what reading did to them."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Self

# Unicode's category Cc without tab, line feed and carriage return.
_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_PLACES_KEPT = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One example of the corpus and where it came from.

    Attributes:
        features: What becomes the tf.Example's features, by name, e.g. `{"text": ("Once upon a time",)}`.
        content: What a person wrote of it, for filters and statistics: the text, or of a row its own words, without
            the template and the system's messages, which many rows share.
        source: A file's name, or a TFDS split.
        place: Where exactly, for messages, e.g. `rows.jsonl, line 7`.
    """

    features: Mapping[str, tuple[str, ...]]
    content: str
    source: str
    place: str = dataclasses.field(default="", compare=False)

    @classmethod
    def of_text(cls, text: str, source: str, place: str = "") -> Self:
        """A document of plain text."""
        return cls(features={"text": (text,)}, content=text, source=source, place=place)

    def payload(self) -> bytes:
        """Features and content as JSON: equal for exact duplicates only."""
        content = None if self.features.get("text") == (self.content,) else self.content
        return json.dumps([self.features, content], ensure_ascii=False, sort_keys=True).encode("utf-8")


@dataclasses.dataclass(kw_only=True)
class ReadCounts:
    """What reading did to the documents.

    Attributes:
        documents: How many were kept.
        dropped: How many were not, by reason.
        control_characters_removed: Characters taken out of texts.
        secrets: Findings that look like a secret, by kind.
        secret_places: The first few of them, e.g. `notes.txt: e-mail address`.
    """

    documents: int = 0
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    control_characters_removed: int = 0
    secrets: dict[str, int] = dataclasses.field(default_factory=dict)
    secret_places: list[str] = dataclasses.field(default_factory=list)

    def drop(self, reason: str) -> None:
        """Counts one document that is not kept."""
        add_up(self.dropped, {reason: 1})

    def found_secret(self, kind: str, place: str) -> None:
        """Counts one finding and remembers the place of the first few."""
        add_up(self.secrets, {kind: 1})
        if len(self.secret_places) < _PLACES_KEPT:
            self.secret_places.append(f"{place}: {kind}")

    def add(self, other: Self) -> None:
        """Adds what another worker counted."""
        self.documents += other.documents
        self.control_characters_removed += other.control_characters_removed
        add_up(self.dropped, other.dropped)
        add_up(self.secrets, other.secrets)
        self.secret_places = [*self.secret_places, *other.secret_places][:_PLACES_KEPT]

    def as_dict(self) -> dict[str, object]:
        """Returns the counts by name, for JSON."""
        return dataclasses.asdict(self)


def add_up(total: dict[str, int], more: Mapping[str, int]) -> None:
    """Adds counts by name."""
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def tidy(features: Mapping[str, Iterable[str]], counts: ReadCounts) -> dict[str, tuple[str, ...]]:
    r"""Removes control characters and turns `\r\n` into `\n`: the one place where text changes.

    `{"text": ["a\r\nb\x00"]}  ->  {"text": ("a\nb",)}`, one control character removed.
    """
    return {name: tuple(_tidy_text(text, counts) for text in texts) for name, texts in features.items()}


def _tidy_text(text: str, counts: ReadCounts) -> str:
    printable, removed = _CONTROL_CHARACTERS.subn("", text)
    counts.control_characters_removed += removed
    return printable.replace("\r\n", "\n")
