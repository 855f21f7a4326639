"""Runs of words that some texts have in common with many others, found in one pass over the many."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from modules.cleaning.word_ngrams import ngram_hashes, word_hashes, word_spans

# Shorter runs are nobody's text: "for more information see" stands anywhere.
SHORTEST_RUN = 5


class Run(NamedTuple):
    """Words in a row that a text has in common with train.

    Attributes:
        words: How long it is; see `VerbatimRuns.longest`.
        text: As the continuation spells it.
        source: Of the first train document that holds it.
    """

    words: int
    text: str
    source: str


class VerbatimRuns:
    """The longest run of words of each of some texts that stands in one of many others.

    Holds hashes of the few texts' own runs, of every length from `SHORTEST_RUN`; the many texts are streamed past.

    Example:

    >>> runs = VerbatimRuns(["He said: friends, Romans, countrymen, lend me your horses!"])
    >>> runs.compare("FRIENDS Romans countrymen – lend me your ears", "caesar.txt")
    >>> runs.longest(0)
    Run(words=6, text='friends, Romans, countrymen, lend me your', source='caesar.txt')
    """

    def __init__(self, texts: Sequence[str]):
        """Takes the texts whose runs are looked for; some hundred words each."""
        self._texts = texts
        self._words = [word_hashes(text) for text in texts]
        self._sources: dict[str, int] = {}
        lengths = range(SHORTEST_RUN, max(map(len, self._words), default=0) + 1)
        self._hashes = {
            n: np.unique(np.concatenate([ngram_hashes(words, n) for words in self._words])) for n in lengths
        }
        # For each hash the number of the source in which it was first seen.
        self._seen_in = {n: np.full(len(hashes), -1) for n, hashes in self._hashes.items()}

    def compare(self, text: str, source: str) -> None:
        """Finds the runs that also stand in this text."""
        words = word_hashes(text)
        for n, hashes in self._hashes.items():
            places, found = _places(hashes, ngram_hashes(words, n))
            places = places[found]
            if not len(places):
                return  # a longer run would hold one of these
            new = places[self._seen_in[n][places] < 0]
            self._seen_in[n][new] = self._sources.setdefault(source, len(self._sources))

    def longest(self, number: int) -> Run | None:
        """The longest run of one of the texts; None where it has none of `SHORTEST_RUN` words.

        Its length is the number of its different pairs of neighbouring words, and one: the number of its words as long
        as it says something new, and 5 of `import numpy as np import numpy as np`, however often that goes round. So
        a degenerate loop such as `0 0 0 0` is not recitation, although train has that too.
        """
        words = self._words[number]
        best = None
        best_length = SHORTEST_RUN - 1
        for start, (length, source) in enumerate(self._reaches(words)):
            new_words = len(np.unique(ngram_hashes(words[start : start + length], 2))) + 1 if length else 0
            if new_words > best_length:
                best_length, best = new_words, (start, start + length - 1, source)
        if best is None:
            return None
        first, last, source = best
        spans = word_spans(self._texts[number])
        text = self._texts[number][spans[first, 0] : spans[last, 1]]
        return Run(best_length, text, list(self._sources)[source])

    def _reaches(self, words: np.ndarray) -> list[tuple[int, int]]:
        """For each word the length of the longest run that starts there, 0 for none, and its source's number."""
        reaches = [(0, -1)] * len(words)
        for n in range(SHORTEST_RUN, len(words) + 1):
            places, _ = _places(self._hashes[n], ngram_hashes(words, n))
            for start, source in enumerate(self._seen_in[n][places].tolist()):
                if source >= 0:
                    reaches[start] = (n, source)
        return reaches


def _places(hashes: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the place of each wanted value in the sorted hashes, int64, and whether it is there at all, bool."""
    places = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
    return places, hashes[places] == wanted
