"""Train documents that contain an eval or test document, as a whole or for a large part."""

import numpy as np


class HeldOutDocuments:
    """The eval and test documents by their runs of words.

    Example:
        >>> held_out = HeldOutDocuments(ngrams=[4, 2], documents=[0, 0, 0, 0, 1, 1], places=[5, 6, 7, 8, 8, 9])
        >>> held_out.largest_share([5, 6, 7])  # three of the four runs of document 0
        0.75
        >>> held_out.largest_share([8])  # one of four of document 0, and one of two of document 1
        0.5
    """

    def __init__(self, *, ngrams: np.ndarray, documents: np.ndarray, places: np.ndarray):
        """Indexes the documents.

        Args:
            ngrams: int64 `[documents]`, the number of runs of each held-out document.
            documents: int64 `[runs]`, the document of each run.
            places: int64 `[runs]`, the index of each run among all held-out runs.
        """
        self._ngrams = np.asarray(ngrams)
        order = np.argsort(places, kind="stable")
        self._places = np.asarray(places)[order]
        self._documents = np.asarray(documents)[order]

    def largest_share(self, places: np.ndarray) -> float:
        """Returns the largest share (0 to 1) of a held-out document's runs that are among the places of a text."""
        places = np.unique(places)
        starts, ends = (np.searchsorted(self._places, places, side) for side in ("left", "right"))
        counts = ends - starts
        if not counts.sum():
            return 0.0
        # Numbers `start` to `end - 1` of every place, one after another.
        runs = np.arange(counts.sum()) + np.repeat(starts - np.append(0, np.cumsum(counts)[:-1]), counts)
        documents, found = np.unique(self._documents[runs], return_counts=True)
        return float((found / self._ngrams[documents]).max())
