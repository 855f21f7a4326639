"""Filter of single documents, which counts the dropped ones by reason; and the settings of all cleaning.

`reject_reason` judges one text, and `keep_documents` filters a stream of documents. Near duplicates and leaks need the
whole corpus: `modules.cleaning.near_duplicates` and `modules.cleaning.leakage` find them.
"""

import difflib
import functools
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, Self

import pydantic
from pydantic import Field

from modules.cleaning import secrets
from modules.common.settings import Settings
from modules.data.documents import Document, ReadCounts

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# In the order of the checks; cheap checks come first.
REASONS = ("too_short", "too_long", "charset", "secret", "language")

# UTF-8 that was read as Windows-1252 or Latin-1 shows two or three characters for one: `Ã¼` for ü, `â€™` for ’. The
# second is a byte from 0x80 to 0xBF: a C1 control or one of these signs.
_SIGNS = "\x80-\xbf" + bytes(range(0x80, 0xA0)).decode("cp1252", "ignore")
# Windows-1252 that was read as Latin-1 has C1 controls in place of curly quotes, dashes and euro signs. NEL (U+0085), a
# line break on mainframes, counts with them: in nearly all texts it was an ellipsis of Windows.
_TRACES = re.compile(f"[\xc2-\xc5\xce-\xd1][{_SIGNS}]|[\xe2-\xe9][{_SIGNS}]{{2}}|[\x80-\x9f\ufffd]")
# Some of the signs also follow such letters in correct text: « café », „Ä“, “é…”, MANHÃ—, 5 Å². They count only if the
# document also has a sequence that correct text does not have: with another sign (`Ã¼`), in the middle of a word
# (`sÃ»r` for sûr), with a capital after a lower-case letter, or Â that ends a word (`it.Â» ` for it.»).
_CLOSING = "\xa0«»‹›‘“”…–"
_AFTER_LETTERS = _CLOSING + "’—"
_AFTER_WORDS = _AFTER_LETTERS + "¹²³®™°·•§©"
_CAPITALS = "\xc2-\xc5\xce-\xd1"
_CERTAIN = re.compile(
    f"[{_CAPITALS}](?:(?![{_AFTER_LETTERS}]|(?<=Å)[²³])[{_SIGNS}]|[{_CLOSING}](?=[a-zß-ÿ]))"
    f"|(?<=[a-zß-ÿ])[{_CAPITALS}][{_SIGNS}]|(?<![\\s«‹“„‘‚(])Â[\xa0«»]"
    f"|[\xe2-\xe9](?![{_AFTER_WORDS}]{{2}})[{_SIGNS}]{{2}}"
)
_LETTER = re.compile(r"[^\W\d_]")
# The language is recognised from the beginning of a document, which takes half a millisecond. More text would only
# cost time.
_LANGUAGE_CHARACTERS = 1000
# ISO 639's code for text without a language: numbers, tables, code.
_NO_LANGUAGE = "zxx"


class CleaningSettings(Settings):
    """Limits that a document must meet to be kept; None switches a check off."""

    min_characters: int = Field(1, ge=1, description="Documents with fewer characters are dropped.")
    max_characters: int | None = Field(None, ge=1, description="Documents with more characters are dropped.")
    languages: tuple[str, ...] | None = Field(
        None,
        description="ISO 639 codes of the languages to keep, for example [en, de]. Documents that are clearly in "
        "another language are dropped; a text that is too short to recognise is kept.",
    )
    min_language_probability: float = Field(
        0.5,
        gt=0,
        le=1,
        description="A document is dropped if another language is recognised with at least this probability.",
    )
    max_replacement_share: float | None = Field(
        0.01,
        ge=0,
        le=1,
        description="Largest share of characters in a document that a wrong decoding left: U+FFFD, C1 controls "
        "(U+0080 to U+009F), and sequences such as `Ã¼` for ü.",
    )
    min_alphabetic_words: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Smallest share of words that contain a letter. Gopher uses 0.8 for web pages (arXiv:2112.11446, "
        "A.1.1); this value also drops tables and most code.",
    )
    near_duplicates: float | None = Field(
        0.8,
        ge=0.5,
        le=1,
        description="A document is dropped as a near duplicate if the Jaccard similarity of its word 5-grams with "
        "those of an earlier document is at least this.",
    )
    leakage: float | None = Field(
        0.5,
        gt=0,
        le=1,
        description="An eval or test document is dropped if at least this share of its word 13-grams is in train.",
    )
    drop_leaked_from: Literal["held_out", "train"] = Field(
        "held_out",
        description="What is both in train and in eval or test is dropped from eval and test (`held_out`) or from "
        "`train`.",
    )
    secrets: Literal["warn", "drop", "off"] = Field(
        "warn",
        description="`warn` keeps documents with e-mail addresses, keys or passwords and reports them, `drop` drops "
        "them, `off` does not search for them.",
    )

    @pydantic.field_validator("languages")
    @classmethod
    def _check_languages(cls, languages: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if languages is None:
            return None
        if not languages:
            raise ValueError("`languages` must name at least one language. Received: none. Leave it out to keep all.")
        known = _identifier().labels
        for code in languages:
            if code not in known:
                near = difflib.get_close_matches(code, known, n=5, cutoff=0.5) or sorted(known)
                raise ValueError(
                    f"`languages` must be ISO 639 codes that can be recognised. Received: {code!r}. "
                    f"Did you mean one of {', '.join(near)}?"
                )
        return languages

    @pydantic.model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if self.max_characters is not None and self.max_characters < self.min_characters:
            raise ValueError(
                f"`max_characters` must be at least `min_characters`. Received: {self.max_characters} and "
                f"{self.min_characters}. Every document would be dropped."
            )
        return self


def keep_documents(documents: Iterable[Document], settings: CleaningSettings, counts: ReadCounts) -> Iterator[Document]:
    """Yields the documents that pass, and adds to `counts` the kept documents, the dropped ones by reason, and secrets.

    Secrets are counted only if `settings.secrets` is "warn". The places of the first few are kept.
    """
    for document in documents:
        content = document.content
        reason = reject_reason(content, settings)
        if reason:
            counts.drop(reason)
            continue
        if settings.secrets == "warn":
            for secret in secrets.find_secrets(content):
                counts.found_secret(secret.kind, f"{document.place}, line {secret.line} of the document")
        counts.found_traces(count_traces(content), document.place)
        counts.documents += 1
        yield document


def reject_reason(text: str, settings: CleaningSettings) -> str | None:
    """Returns the first of `REASONS` for which the document is dropped, or None if it is kept.

    too_short, too_long: The length is outside `min_characters` and `max_characters`.
    charset: There are too many traces of a wrong decoding, or too few words with letters.
    secret: `modules.cleaning.secrets` finds something, and `secrets` is "drop".
    language: The text is clearly in a language that is not among `languages`.
    """
    if len(text) < settings.min_characters:
        return "too_short"
    if settings.max_characters is not None and len(text) > settings.max_characters:
        return "too_long"
    if _is_garbled(text, settings):
        return "charset"
    if settings.secrets == "drop" and any(secrets.find_secrets(text)):
        return "secret"
    if settings.languages is not None and _is_foreign(text, settings):
        return "language"
    return None


def _is_garbled(text: str, settings: CleaningSettings) -> bool:
    limit = settings.max_replacement_share
    if limit is not None and count_traces(text) > limit * len(text):
        return True
    if settings.min_alphabetic_words is None:
        return False
    words = text.split()
    alphabetic = sum(1 for word in words if _LETTER.search(word))
    return alphabetic < settings.min_alphabetic_words * len(words)


def count_traces(text: str) -> int:
    """Returns the number of characters that a wrong decoding left."""
    traces = [] if text.isascii() else _TRACES.findall(text)
    if traces and not _CERTAIN.search(text):
        return sum(1 for trace in traces if len(trace) == 1)
    return sum(map(len, traces))


def _is_foreign(text: str, settings: CleaningSettings) -> bool:
    """Returns True if an unwanted language is recognised with at least the probability in the settings.

    The text is compared with all languages, not only with the wanted ones. Otherwise every text would be assigned to
    a wanted language.
    """
    language, probability = _identifier().classify(text[:_LANGUAGE_CHARACTERS])
    wanted = (*(settings.languages or ()), _NO_LANGUAGE)
    return language not in wanted and probability >= settings.min_language_probability


@functools.cache
def _identifier() -> "LanguageIdentifier":
    # Loading the model takes most of a second, so it is loaded only if `languages` is set.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
