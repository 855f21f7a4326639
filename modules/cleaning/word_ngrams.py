"""Words and runs of words as 64-bit hashes, for the search for near duplicates and for leakage.

A word is a run of letters, digits and their combining marks, in lower case. In scripts that are written without
spaces (Chinese, Japanese, Thai and so on, and Korean as well) every character is a word. Punctuation and spacing do
not count, so `"The cat, the hat."` and `"the CAT the hat"` are the same four words.
"""

import functools
import unicodedata
from collections.abc import Iterator

import numpy as np

# The table of powers has a value for every position in a piece of text. Longer texts are cut at white space.
_PIECE_CHARACTERS = 2**16
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


def word_hashes(text: str) -> np.ndarray:
    """Returns uint64 `[words]`, the hash of each word of the text in order.

    A word's hash depends only on its characters, and not on its place, the process or the platform. It is a
    polynomial of the code points modulo 2^64 (Rabin and Karp, "Efficient randomized pattern-matching algorithms",
    1987), mixed by `mixed`. Different words collide by chance, about once in 2^64 pairs. A word of more than
    65,536 characters counts as several words.
    """
    if len(text) <= _PIECE_CHARACTERS:
        return _piece_word_hashes(text)
    return np.concatenate([_piece_word_hashes(piece) for piece in _pieces(text)])


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


def _piece_word_hashes(text: str) -> np.ndarray:
    points = _code_points(text.lower())
    kinds = _kinds()[points]
    starts = np.flatnonzero(_word_starts(kinds))
    if not len(starts):
        return np.empty(0, np.uint64)
    # Each word's sum of code point * base^position, divided by base^(position of the word's start).
    size = 2 * _PIECE_CHARACTERS
    terms = _powers(_CHARACTER_BASE, size)[: len(points)] * points
    terms *= kinds != 0
    sums = np.add.reduceat(terms, starts)
    return mixed(sums * _powers(pow(_CHARACTER_BASE, -1, 2**64), size)[starts])


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
