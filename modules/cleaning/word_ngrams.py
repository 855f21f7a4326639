"""Words and runs of words as 64-bit hashes, for the search for near duplicates and for leakage.

A word is a run of letters, digits and their combining marks, in lower case. In scripts that are written without
spaces (Chinese, Japanese, Thai and so on, and Korean as well) every character is a word. Punctuation and spacing do
not count, so `"The cat, the hat."` and `"the CAT the hat"` are the same four words.
"""

import functools
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

# The table of powers has a value for every position in a piece of text. Longer texts are cut at white space.
_PIECE_CHARACTERS = 2**16
# Texts are hashed together in batches of at most so many characters: a call of NumPy takes longer than hashing a line.
BATCH_CHARACTERS = _PIECE_CHARACTERS
# Any odd number is invertible modulo 2^64. These two are random.
_CHARACTER_BASE = 0x9FB21C651E98DF25
_WORD_BASE = 0xD6E8FEB86659FD93

# The kinds of characters: part of a word, or a word by itself. 0 is a character between words.
_LETTER, _WHOLE_WORD = 1, 2
_WRITTEN_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Chinese, Japanese and Korean ideographs
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),  # Hangul syllables
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9D),
    (0x20000, 0x3FFFF),
)

Item = TypeVar("Item")


def word_hashes(text: str) -> np.ndarray:
    """Returns uint64 `[words]`, the hash of each word of the text in order.

    A word's hash depends only on its characters, and not on its place, the process or the platform. It is a
    polynomial of the code points modulo 2^64 (Rabin and Karp, "Efficient randomized pattern-matching algorithms",
    1987), mixed by `mixed`. Different words collide by chance, about once in 2^64 pairs. A word of more than
    65,536 characters counts as several words.
    """
    return word_hashes_of([text])[0]


def word_hashes_of(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns uint64 `[words]`, the hashes of `word_hashes` of all texts, and int64 `[texts]`, each text's words.

    `["The cat", "", "a"]  ->  [hash(the), hash(cat), hash(a)], [2, 0, 1]`. Many short texts at once take a tenth of
    the time of as many calls.
    """
    hashes, counts = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for batch in batches(texts, len):
        if len(batch) > 1 or len(batch[0]) <= _PIECE_CHARACTERS:
            words, words_of_each = _batch_word_hashes(batch)
        else:
            words = np.concatenate([_batch_word_hashes([piece])[0] for piece in _pieces(batch[0])])
            words_of_each = np.array([len(words)])
        hashes.append(words)
        counts.append(words_of_each)
    return np.concatenate(hashes), np.concatenate(counts)


def batches(items: Iterable[Item], characters: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yields the items in order in lists of at most `BATCH_CHARACTERS` characters, or of one item that is longer."""
    batch: list[Item] = []
    size = 0
    for item in items:
        size += characters(item) + 1  # a separator between two texts
        if batch and size > BATCH_CHARACTERS:
            yield batch
            batch, size = [], characters(item) + 1
        batch.append(item)
    if batch:
        yield batch


def word_spans(text: str) -> np.ndarray:
    """Returns int64 `[words, 2]`: the start and the end in the text of each word that `word_hashes` hashes.

    `"The cat!"  ->  [[0, 3], [4, 7]]`. The text has at most 65,536 characters; `word_hashes` may cut the words of
    longer texts elsewhere.
    """
    kinds = _kinds()[_code_points(text)]
    ends = np.flatnonzero((kinds == _WHOLE_WORD) | ((kinds == _LETTER) & (np.append(kinds[1:], 0) != _LETTER))) + 1
    return np.stack([np.flatnonzero(_word_starts(kinds)), ends], axis=1)


def ngram_hashes(words: np.ndarray, n: int) -> np.ndarray:
    """Returns uint64 `[max(0, words - n + 1)]`, the hash of each run of `n` words.

    `[a, b, c], n=2  ->  [hash(a, b), hash(b, c)]`. Runs of the same words in another order have another hash.

    Args:
        words: uint64 `[words]` from `word_hashes`.
        n: The number of words in a run, from 1.

    Raises:
        ValueError: `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"`n` must be at least 1 word. Received: {n}.")
    if len(words) < n:
        return np.empty(0, np.uint64)
    return mixed(np.correlate(words, _powers(_WORD_BASE, n), "valid"))


def ngram_hashes_of(words: np.ndarray, counts: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the hashes of `ngram_hashes` of each text, joined, and int64 `[texts]`, the number of each text's runs.

    Args:
        words: uint64 `[words]`, the words of all texts.
        counts: int64 `[texts]`, the number of words of each text; both come from `word_hashes_of`.
        n: The number of words in a run, from 1. No run reaches from one text into the next.

    Raises:
        ValueError: `n` is below 1.
    """
    hashes = ngram_hashes(words, n)
    crossing = (np.cumsum(counts)[:, np.newaxis] - np.arange(1, n)).ravel()
    is_inside = np.ones(len(hashes), bool)
    is_inside[crossing[(crossing >= 0) & (crossing < len(hashes))]] = False
    return hashes[is_inside], np.maximum(counts - (n - 1), 0)


def mixed(values: np.ndarray) -> np.ndarray:
    """Returns uint64 of the same shape, where every bit depends on every bit of the value.

    This is the finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    2014), a bijection.
    """
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def _batch_word_hashes(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `word_hashes_of` returns, for one batch."""
    try:
        # Every character of Latin-1 is one byte, and so is its lower case; none is a whole word.
        points = np.frombuffer("\n".join(texts).encode("latin-1").translate(_latin_letters()), np.uint8)
        starts = _true_after_false(points != 0)
    except UnicodeEncodeError:
        texts = [text.lower() for text in texts]  # the lower case of a few letters has two characters
        points = _code_points("\n".join(texts))
        kinds = _kinds()[points]
        points = points * (kinds != 0)
        starts = np.flatnonzero(_word_starts(kinds) != 0)
    lengths = np.array([len(text) + 1 for text in texts])
    counts = np.diff(np.searchsorted(starts, np.cumsum(lengths)), prepend=0)
    if not len(starts):
        return np.empty(0, np.uint64), counts
    # Each word's sum of code point * base^position, divided by base^(position of the word's start).
    size = 2 * _PIECE_CHARACTERS
    sums = np.add.reduceat(_powers(_CHARACTER_BASE, size)[: len(points)] * points, starts)
    return mixed(sums * _powers(pow(_CHARACTER_BASE, -1, 2**64), size)[starts]), counts


def _true_after_false(values: np.ndarray) -> np.ndarray:
    """Returns the places where a run of True starts in bool `[values]`, as int64 `[runs]`."""
    is_first = values.copy()
    is_first[1:] &= ~values[:-1]
    return np.flatnonzero(is_first)


@functools.cache
def _latin_letters() -> bytes:
    """Returns a table of 256 bytes: the lower case of each letter or digit of Latin-1, and 0 for other characters."""
    return bytes(ord(chr(code).lower()) if _kinds()[code] else 0 for code in range(256))


def _code_points(text: str) -> np.ndarray:
    """Returns uint32 `[characters]`, the text's code points."""
    # A lone surrogate is not part of a word, but it must not raise an error.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _word_starts(kinds: np.ndarray) -> np.ndarray:
    """Returns uint8 `[characters]`, which is not 0 where a word starts."""
    # A letter starts a word unless it follows a letter. A character that is a whole word always starts one.
    is_start = kinds.copy()
    is_start[1:] &= ~(kinds[:-1] & _LETTER)
    return is_start


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + _PIECE_CHARACTERS
        if end < len(text):
            space = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
            end = space if space > start else end
        yield text[start:end]
        start = end


@functools.cache
def _kinds() -> np.ndarray:
    """Returns uint8 `[0x110000]`: for each code point 0 (between words), `_LETTER` or `_WHOLE_WORD`."""
    kinds = np.fromiter(
        (char.isalnum() or unicodedata.category(char)[0] == "M" for char in map(chr, range(0x110000))),
        np.uint8,
        0x110000,
    )
    for first, last in _WRITTEN_WITHOUT_SPACES:
        kinds[first : last + 1] *= _WHOLE_WORD
    return kinds


@functools.cache
def _powers(base: int, count: int) -> np.ndarray:
    """Returns uint64 `[count]`: 1, base, base^2 and so on, modulo 2^64."""
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)
