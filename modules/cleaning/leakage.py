"""The share of an eval or test document that the train split also contains.

The method is GPT-3's: a held-out document is suspect if one of its 13-grams occurs in the training text (Brown et
al., "Language Models are Few-Shot Learners", arXiv:2005.14165, appendix C). Here the share of such 13-grams is
measured, so that a document is not dropped only because of a quotation.
"""

from collections.abc import Iterable

import numpy as np

from modules.cleaning.word_ngrams import ngram_hashes, word_hashes

NGRAM = 13
# The filter's index is made of the top bits of a hash, at most so many. With 8 slots or more per held-out n-gram, few
# n-grams that are not held out pass the filter.
_MAX_FILTER_BITS = 32


class HeldOutNgrams:
    """The runs of `NGRAM` words of the eval and test documents, each marked if it was seen in the train split.

    This takes about 11 bytes of memory per held-out word, and twice that while it is built.

    Example:
        >>> eval_text = "Once upon a time a cat lived with a very old man in a house by the sea."
        >>> held_out = HeldOutNgrams.of([eval_text])
        >>> held_out.mark("He said: once upon a time, a cat lived with a very old man in a cave.")
        >>> held_out.overlap(eval_text)  # 2 of its 6 runs of 13 words
        0.3333333333333333

    Attributes:
        hashes: uint64 `[ngrams]`, sorted, without repetitions.
        marks: bool `[ngrams]`, True for n-grams that were seen in the train split. Workers that have equal `hashes`
            may each mark a part of the train split; `marks |= worker.marks` combines them.
    """

    def __init__(self, hashes: np.ndarray):
        """Creates the n-grams without marks; `hashes` come from `of` or from another instance."""
        self.hashes = np.asarray(hashes)  # an access to an array of a mapped file takes longer
        self.marks = np.zeros(len(hashes), bool)
        # Nearly all train n-grams are not held out: a lookup in a small table of bits avoids the search for them.
        bits = min(_MAX_FILTER_BITS, max(3, (8 * len(hashes)).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._filter = _bit_table(hashes, self._shift, 2 ** (bits - 3))
        # The place of the first hash of each range of about 4 hashes. A binary search among millions of hashes would
        # wait for the memory in each of its steps.
        range_bits = max(1, (len(hashes) // 4).bit_length())
        self._range_shift = np.uint64(64 - range_bits)
        firsts = np.arange(2**range_bits, dtype=np.uint64) << self._range_shift
        self._range_starts = np.searchsorted(hashes, firsts).astype(np.uint32 if len(hashes) < 2**32 else np.int64)

    @classmethod
    def of(cls, texts: Iterable[str]) -> "HeldOutNgrams":
        """Collects the n-grams of all the texts, which are read one at a time."""
        collected = bytearray()
        for text in texts:
            collected += leakage_ngrams(text).tobytes()
        return cls(without_repetitions(np.frombuffer(collected, np.uint64)))

    def mark(self, text: str) -> None:
        """Marks the n-grams of a train text."""
        self.marks[self.find(leakage_ngrams(text))[1]] = True

    def overlap(self, text: str) -> float:
        """Returns the share (0 to 1) of the held-out text's n-grams that were marked.

        A text of fewer than `NGRAM` words has no n-grams: its share is 0.0.
        """
        ngrams = leakage_ngrams(text)
        return float(self.marks[self.find(ngrams)[1]].sum() / len(ngrams)) if len(ngrams) else 0.0

    def find(self, ngrams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the n-grams that are held out: their indices in `ngrams` and in `hashes`, both int64 `[found]`."""
        tops = ngrams >> self._shift
        bits = self._filter[tops >> np.uint64(3)] >> (tops & np.uint64(7)).astype(np.uint8)
        indices = np.flatnonzero(bits & np.uint8(1))
        wanted = ngrams[indices]
        places = self._range_starts[wanted >> self._range_shift].astype(np.int64)
        searching = np.flatnonzero(places < len(self.hashes))
        while len(searching):
            searching = searching[self.hashes[places[searching]] < wanted[searching]]
            places[searching] += 1
            searching = searching[places[searching] < len(self.hashes)]
        inside = places < len(self.hashes)
        indices, wanted, places = indices[inside], wanted[inside], places[inside]
        found = self.hashes[places] == wanted
        return indices[found], places[found]


def without_repetitions(hashes: np.ndarray) -> np.ndarray:
    """Returns the different hashes, sorted; sorts uint64 `[hashes]` in place."""
    hashes.sort()
    is_first = np.ones(len(hashes), bool)
    np.not_equal(hashes[1:], hashes[:-1], out=is_first[1:])
    return hashes[is_first]


def leakage_ngrams(text: str) -> np.ndarray:
    """Returns uint64 `[ngrams]`, the hashes of a text's runs of `NGRAM` words; it is empty for shorter texts."""
    return ngram_hashes(word_hashes(text), NGRAM)


def _bit_table(hashes: np.ndarray, shift: np.uint64, size_bytes: int) -> np.ndarray:
    """Returns uint8 `[size_bytes]`, a table in which bit number `hash >> shift` is set for each of the hashes."""
    table = np.zeros(size_bytes, np.uint8)
    for start in range(0, len(hashes), 2**20):
        tops = hashes[start : start + 2**20] >> shift
        np.bitwise_or.at(table, tops >> np.uint64(3), np.uint8(1) << (tops & np.uint64(7)).astype(np.uint8))
    return table
