"""Runs of words that a few texts share with a large corpus, found in one pass over the corpus."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from modules.cleaning.word_ngrams import ngram_hashes, word_hashes, word_spans

# Shorter runs belong to no particular text: "for more information see" occurs everywhere.
SHORTEST_RUN = 5


class Run(NamedTuple):
    """Words in a row that a text shares with the train split.

    Attributes:
        words: Length of the run, see `VerbatimRuns.longest`.
        text: The run as the continuation spells it.
        source: Source of the first train document that contains the run.
    """

    words: int
    text: str
    source: str


class VerbatimRuns:
    """The longest run of words that each of a few texts shares with a document of a large corpus.

    Only hashes of the few texts' runs are in memory, for every length from `SHORTEST_RUN`. The corpus is a stream.

    Example:

    >>> runs = VerbatimRuns(["He said: friends, Romans, countrymen, lend me your horses!"])
    >>> runs.compare("FRIENDS Romans countrymen – lend me your ears", "caesar.txt")
    >>> runs.longest(0)
    Run(words=6, text='friends, Romans, countrymen, lend me your', source='caesar.txt')
    """

    def __init__(self, texts: Sequence[str]):
        """Prepares the search.

        Args:
            texts: The texts whose runs are searched for, of some hundred words each.
        """
        self._texts = texts
        self._words = [word_hashes(text) for text in texts]
        self._sources: dict[str, int] = {}
        lengths = range(SHORTEST_RUN, max(map(len, self._words), default=0) + 1)
        self._hashes = {
            n: np.unique(np.concatenate([ngram_hashes(words, n) for words in self._words])) for n in lengths
        }
        # For each hash the number of the source in which it was first seen, -1 for none.
        self._seen_in = {n: np.full(len(hashes), -1) for n, hashes in self._hashes.items()}

    def compare(self, text: str, source: str) -> None:
        """Finds the runs that this text of the corpus contains.

        Args:
            text: A text of the corpus.
            source: Source of the text.
        """
        words = word_hashes(text)
        for n, hashes in self._hashes.items():
            places, found = _places(hashes, ngram_hashes(words, n))
            places = places[found]
            if not len(places):
                return  # a longer run would contain one of this length
            new = places[self._seen_in[n][places] < 0]
            self._seen_in[n][new] = self._sources.setdefault(source, len(self._sources))

    def longest(self, number: int) -> Run | None:
        """Returns the longest run of a text; None if it has no run of `SHORTEST_RUN` words.

        The length of a run is one plus the number of different pairs of neighbouring words in it. Without repetitions
        this is its number of words. The length of `import numpy as np import numpy as np` is 5, however often it is
        repeated. So a degenerate loop such as `0 0 0 0` is not recitation, although the train split may contain it.

        Args:
            number: Index of the text.
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
        """Returns the length of the longest run that starts at each word, 0 for none, and its source's number."""
        reaches = [(0, -1)] * len(words)
        for n in range(SHORTEST_RUN, len(words) + 1):
            places, _ = _places(self._hashes[n], ngram_hashes(words, n))
            for start, source in enumerate(self._seen_in[n][places].tolist()):
                if source >= 0:
                    reaches[start] = (n, source)
        return reaches


def _places(hashes: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the place of each wanted value in the sorted hashes, int64, and whether it occurs there, bool."""
    places = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
    return places, hashes[places] == wanted
