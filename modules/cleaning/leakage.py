"""How much of an eval or test document also stands in the train split.

The practice is GPT-3's: a held-out document is suspect where one of its 13-grams occurs in the training text
(Brown et al., "Language Models are Few-Shot Learners", arXiv:2005.14165, appendix C). Here the share of such
13-grams is measured, so that a quotation alone condemns no document.
"""

from collections.abc import Iterable

import numpy as np

from modules.cleaning.word_ngrams import ngram_hashes, word_hashes

NGRAM = 13
# Keeps the top bits of a held-out n-gram's hash; with 8 bits an n-gram or more, few others get past it.
_MAX_FILTER_BITS = 32


class HeldOutNgrams:
    """The runs of `NGRAM` words of the eval and test documents, and which of them were seen in train.

    About 10 bytes a held-out word in memory, twice that while it is built.

    >>> held_out = HeldOutNgrams.of(eval_and_test_texts)
    >>> for text in train_texts:
    ...     held_out.mark(text)
    >>> leaked = [text for text in eval_and_test_texts if held_out.overlap(text) >= 0.5]

    Attributes:
        hashes: uint64 `[ngrams]`, sorted, each once.
        marks: bool `[ngrams]`, which were seen in train. Workers that each mark a part of the train split, with
            equal `hashes`, are combined by `marks |= other.marks`.
    """

    def __init__(self, hashes: np.ndarray):
        """Starts with nothing marked; `hashes` are another's `hashes`, or `of` makes them."""
        self.hashes = hashes
        self.marks = np.zeros(len(hashes), bool)
        # Nearly all train n-grams are nowhere held out: one look into a small table of bits spares the search.
        bits = min(_MAX_FILTER_BITS, max(3, (8 * len(hashes)).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._filter = _bit_table(hashes, self._shift, 2 ** (bits - 3))

    @classmethod
    def of(cls, texts: Iterable[str]) -> "HeldOutNgrams":
        """Collects the n-grams of all the texts, which are consumed as a stream."""
        collected = bytearray()
        for text in texts:
            collected += leakage_ngrams(text).tobytes()
        hashes = np.frombuffer(collected, np.uint64)
        hashes.sort()
        is_first = np.ones(len(hashes), bool)
        np.not_equal(hashes[1:], hashes[:-1], out=is_first[1:])
        return cls(hashes[is_first])

    def mark(self, text: str) -> None:
        """Marks the n-grams of a train text."""
        self.marks[self._places(leakage_ngrams(text))] = True

    def overlap(self, text: str) -> float:
        """Returns the share, 0 to 1, of the held-out text's n-grams that were marked.

        0.0 for a text of fewer than `NGRAM` words: it has none.
        """
        ngrams = leakage_ngrams(text)
        return float(self.marks[self._places(ngrams)].sum() / len(ngrams)) if len(ngrams) else 0.0

    def _places(self, ngrams: np.ndarray) -> np.ndarray:
        """int64 `[found]`, where the n-grams that are held out stand in `hashes`."""
        tops = ngrams >> self._shift
        ngrams = ngrams[self._filter[tops >> np.uint64(3)] >> (tops & np.uint64(7)).astype(np.uint8) & 1 == 1]
        places = np.searchsorted(self.hashes, ngrams)
        inside = places < len(self.hashes)
        places, ngrams = places[inside], ngrams[inside]
        return places[self.hashes[places] == ngrams]


def leakage_ngrams(text: str) -> np.ndarray:
    """The hashes of a text's runs of `NGRAM` words, uint64 `[ngrams]`; none for shorter texts."""
    return ngram_hashes(word_hashes(text), NGRAM)


def _bit_table(hashes: np.ndarray, shift: np.uint64, size_bytes: int) -> np.ndarray:
    """uint8 `[size_bytes]`: the bit numbered `hash >> shift` is set for each of the hashes."""
    table = np.zeros(size_bytes, np.uint8)
    for start in range(0, len(hashes), 2**20):
        tops = hashes[start : start + 2**20] >> shift
        np.bitwise_or.at(table, tops >> np.uint64(3), np.uint8(1) << (tops & np.uint64(7)).astype(np.uint8))
    return table
