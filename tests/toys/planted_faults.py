"""A corpus with planted faults of every kind, and look-alikes that are none, for each cleaner.

Each function returns `Planted` texts: the cleaner that is concerned, the kind of text, and whether a cleaner should
drop it. The texts are the same in every process and on every version of Python: words are drawn from a fixed list, so
that overlaps can be counted, and the texts in other languages are those of `tests.toys.languages`.
"""

import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

from tests.toys.languages import ENGLISH, QUOTED, TEXTS

_SYLLABLES = [a + b for a in "bdfgklmnprstv" for b in ("a", "e", "i", "o", "u", "an", "el", "or")]
_SEED = 15
_WORDS = 200


class Planted(NamedTuple):
    """A text, and what should happen to it.

    Attributes:
        cleaner: The cleaner that is tested.
        kind: The kind of the fault or of the look-alike, as it is shown in the table.
        is_fault: True if the cleaner should drop the text, False for a look-alike.
        text: The text.
        origin: The text that a duplicate or a leak was made from; empty for other faults.
    """

    cleaner: str
    kind: str
    is_fault: bool
    text: str
    origin: str = ""


def exact_duplicates() -> Iterator[Planted]:
    """Yields copies, and texts that differ from their origin in one place."""
    rng = random.Random(_SEED)
    for _ in range(20):
        words = _words(rng, _WORDS)
        text = " ".join(words)
        yield Planted("exact duplicates", "the same text", True, text, text)
        phrase = _words(rng, 3)
        yield Planted("exact duplicates", "Windows' line ends", True, "\r\n".join(phrase), "\n".join(phrase))
        phrase = _words(rng, 3)
        yield Planted("exact duplicates", "one letter in upper case", False, " ".join(phrase).title(), " ".join(phrase))


def near_duplicates() -> Iterator[Planted]:
    """Yields versions of a text of 200 words; the similarity that a kind names is the exact one of word 5-grams."""
    rng = random.Random(_SEED + 1)
    for _ in range(40):
        for kind, is_fault, change in (
            ("other case, punctuation and spacing (1.00)", True, lambda w: [word.title() + "," for word in w]),
            ("one word of 200 replaced (0.95)", True, lambda w: _replaced(w, rng, 1)),
            ("two words of 200 replaced (0.90)", True, lambda w: _replaced(w, rng, 2)),
            ("three words of 200 replaced (0.86)", True, lambda w: _replaced(w, rng, 3)),
            ("the last 20 words cut off (0.90)", True, lambda w: w[:-20]),
            ("both halves swapped (0.96)", True, lambda w: w[100:] + w[:100]),
            ("six words of 200 replaced (0.73)", False, lambda w: _replaced(w, rng, 6)),
            ("the last 60 words replaced (0.53)", False, lambda w: w[:140] + _words(rng, 60)),
            ("the same words in another order (0.00)", False, lambda w: w[::-1]),
        ):
            words = _words(rng, _WORDS)
            yield Planted("near duplicates", kind, is_fault, " ".join(change(words)), " ".join(words))


def leaks() -> Iterator[Planted]:
    """Yields held-out texts of 200 words that share words with a text of the train split."""
    rng = random.Random(_SEED + 2)
    for _ in range(20):
        for kind, is_fault, change in (
            ("the whole text", True, lambda w: w),
            ("160 of 200 words in one piece", True, lambda w: w[:160] + _words(rng, 40)),
            ("120 of 200 words in one piece", True, lambda w: w[:120] + _words(rng, 80)),
            ("160 of 200 words in four pieces", True, lambda w: _in_pieces(w, rng, kept=40, added=10)),
            ("every twentieth word replaced", True, lambda w: _every(w, rng, 20)),
            ("every tenth word replaced", True, lambda w: _every(w, rng, 10)),
            ("60 of 200 words in one piece", False, lambda w: w[:60] + _words(rng, 140)),
            ("12 of 200 words, a common phrase", False, lambda w: _words(rng, 188) + w[:12]),
        ):
            words = _words(rng, _WORDS)
            yield Planted("leaks", kind, is_fault, " ".join(change(words)), " ".join(words))


def languages() -> Iterator[Planted]:
    """Yields texts in other languages in three lengths, and English ones."""
    for code, text in TEXTS.items():
        sentences = text.split("\n")
        if code == "en":
            for sentence in (*sentences, *ENGLISH):
                yield Planted("languages", "English, also technical and short", False, sentence)
            continue
        yield Planted("languages", "three sentences", True, text)
        for sentence in sentences:
            yield Planted("languages", "one sentence", True, sentence)
            yield Planted("languages", "its first 20 characters", True, sentence[:20])


def encodings() -> Iterator[Planted]:
    """Yields texts that were decoded wrongly, and the same texts as they should be."""
    for text in TEXTS.values():
        utf8 = text.encode("utf-8")
        yield Planted("broken encodings", "right text, in 14 languages", False, text)
        if text.isascii():
            continue
        yield Planted("broken encodings", "UTF-8 read as ASCII", True, utf8.decode("ascii", "replace"))
        yield Planted("broken encodings", "UTF-8 read as Latin-1", True, utf8.decode("latin-1"))
        yield Planted("broken encodings", "UTF-8 read as Windows-1252", True, utf8.decode("cp1252", "replace"))
        for codec in ("cp1252", "cp1250", "cp1251", "cp1253"):
            try:
                encoded = text.encode(codec)
            except UnicodeEncodeError:
                continue
            kind = "a Windows code page read as UTF-8"
            yield Planted("broken encodings", kind, True, encoded.decode("utf-8", "replace"))
            break
    for text in ENGLISH:
        yield Planted("broken encodings", "right text, technical", False, text)
    for text in QUOTED:
        utf8 = text.encode("utf-8")
        yield Planted("broken encodings", "right text, accents before quotes and no-break spaces", False, text)
        yield Planted("broken encodings", "such a text in UTF-8, read as Latin-1", True, utf8.decode("latin-1"))
        kind = "such a text in UTF-8, read as Windows-1252"
        yield Planted("broken encodings", kind, True, utf8.decode("cp1252", "replace"))
    yield Planted("broken encodings", "right text that mentions U+FFFD", False, "It shows \ufffd. " + "It is so. " * 20)
    yield Planted(
        "broken encodings", "right text, capitals with accents", False, "IRMÃ, AVÔ, MÃE, MANHÃ, PÂTÉ, ÂME: Ã Â"
    )


def _words(rng: random.Random, count: int) -> list[str]:
    """Returns words of two to three syllables: 1.1 million different ones, so that overlaps are only planted ones."""
    return ["".join(_SYLLABLES[int(rng.random() * len(_SYLLABLES))] for _ in range(3)) for _ in range(count)]


def _replaced(words: list[str], rng: random.Random, count: int) -> list[str]:
    """Returns the words with some replaced, at equal distances and away from both ends."""
    words = list(words)
    for index in range(count):
        words[(index + 1) * len(words) // (count + 1)] = _words(rng, 1)[0]
    return words


def _every(words: list[str], rng: random.Random, step: int) -> list[str]:
    return [_words(rng, 1)[0] if index % step == step - 1 else word for index, word in enumerate(words)]


def _in_pieces(words: list[str], rng: random.Random, kept: int, added: int) -> list[str]:
    pieces = [words[i : i + kept] + _words(rng, added) for i in range(0, len(words), kept + added)]
    return list(itertools.chain.from_iterable(pieces))
