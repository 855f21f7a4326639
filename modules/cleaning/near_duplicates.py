"""A search for near-duplicate documents by MinHash, for a million documents with tens of bytes of memory each.

`signature` summarises a document's word 5-grams with datasketch's MinHash permutations. Two documents are candidates
if their signatures agree in a whole band of values (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
chapter 3). Each candidate is then verified by the whole signatures. Bands are compared by sorting, because
datasketch's own index keeps every band in dictionaries, about 5 kB per document.
"""

import functools
from collections.abc import Callable

import numpy as np
from datasketch import MinHash, MinHashLSH
from scipy import sparse

from modules.cleaning.word_ngrams import mixed, ngram_hashes_of, word_hashes_of

WORDS = 5
# The number of MinHash permutations. The standard error of the estimated similarity is at most
# 1 / (2 * sqrt(128)) = 0.044, and 0.035 at a similarity of 0.8.
NUM_PERM = 128
# The weights of false and of missed candidates. A false candidate only costs the time to verify it.
_CANDIDATE_WEIGHTS = (0.1, 0.9)
# Above this threshold the bands would be so long that nearly equal documents are missed.
_LONGEST_BANDS_THRESHOLD = 0.95
# In a group of documents that agree in a band, at most so many are compared with all later documents of the group.
_MAX_LEADERS = 100
_CHUNK = 2**14
_RUN_BATCH_SIZE = 2**14


def signature(text: str) -> np.ndarray | None:
    """Returns uint32 `[NUM_PERM]`, the MinHash of the text's runs of `WORDS` words.

    The share of equal values of two signatures estimates the Jaccard similarity of the two sets of runs: the number
    of runs in both sets divided by the number of runs in either set. Case, punctuation and spacing do not count.

    Returns:
        None for a text of fewer than `WORDS` words: short lines repeat naturally and are never near duplicates.
    """
    rows, _ = signatures(*word_hashes_of([text]))
    return rows[0] if len(rows) else None


def signatures(words: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the signatures of several texts.

    Args:
        words: uint64 `[words]`, the words of all texts.
        counts: int64 `[texts]`, the number of words of each text; both come from `word_hashes_of`.

    Returns:
        uint32 `[signatures, NUM_PERM]` in the order of the texts, and bool `[texts]`, False for texts of fewer than
        `WORDS` words, which have no signature.
    """
    ngrams, ngram_counts = ngram_hashes_of(words, counts, WORDS)
    # datasketch's own `update_batch` takes several times as long: it hashes each of these hashes again in Python.
    hashes = (ngrams >> np.uint64(32)).astype(np.uint32)
    has_signature = ngram_counts > 0
    ends = np.cumsum(ngram_counts[has_signature])
    starts = ends - ngram_counts[has_signature]
    smallest = np.full((NUM_PERM, len(ends)), 2**32 - 1, np.uint32)
    for start in range(0, len(hashes), _RUN_BATCH_SIZE):
        batch = hashes[start : start + _RUN_BATCH_SIZE]
        texts = slice(np.searchsorted(ends, start, "right"), np.searchsorted(starts, start + len(batch)))
        _update_minima(smallest[:, texts], batch, np.maximum(starts[texts] - start, 0))
    return np.ascontiguousarray(smallest.T), has_signature


def _update_minima(smallest: np.ndarray, hashes: np.ndarray, starts: np.ndarray) -> None:
    """Lowers each minimum, uint32 `[NUM_PERM, texts]`, to the smallest permuted hash of its text.

    Args:
        smallest: The minima so far; changed in place.
        hashes: uint32 `[hashes]`, those of one text after the other.
        starts: int64 `[texts]`, the place of each text's first hash.
    """
    factors, addends = _permutations()
    permuted = np.empty_like(hashes)
    for row, factor, addend in zip(smallest, factors, addends, strict=True):
        np.multiply(hashes, factor, out=permuted)
        np.add(permuted, addend, out=permuted)
        np.minimum(row, np.minimum.reduceat(permuted, starts), out=row)


def find_near_duplicates(signatures: np.ndarray, threshold: float) -> np.ndarray:
    """Returns bool `[documents]`, True for each near duplicate of an earlier document, see `first_of_each`."""
    return first_of_each(signatures, threshold) != np.arange(len(signatures))


def first_of_each(
    signatures: np.ndarray, threshold: float, *, release: Callable[[], None] = lambda: None
) -> np.ndarray:
    """Returns int64 `[documents]`, the first document of each document's cluster of near duplicates.

    Verified pairs are joined to clusters, and only the first document of each cluster is kept. So in a chain of
    versions, each similar to the next, the last version is dropped even if it is not similar to the first. Equal
    inputs give equal results. Most pairs at the threshold are found, and nearly all pairs 0.05 above it (at 0.8: 87%
    and 97%). An unrelated pair would need 102 of 128 equal values.

    Args:
        signatures: uint32 `[documents, NUM_PERM]`. It may be a mapped file: it is read in chunks, and about 80 bytes
            per document are held in memory.
        threshold: The estimated Jaccard similarity from which two documents are near duplicates. Above 0, at most 1.
        release: Called after each chunk, to give back the memory of a mapped file.

    Raises:
        ValueError: The signatures' shape or type is wrong, or the threshold is out of range.
    """
    if signatures.ndim != 2 or signatures.shape[1] != NUM_PERM or signatures.dtype != np.uint32:
        raise ValueError(
            f"`signatures` must be uint32 [documents, {NUM_PERM}]. "
            f"Received: {signatures.dtype} {list(signatures.shape)}. Stack the results of `signature`."
        )
    if not 0 < threshold <= 1:
        raise ValueError(f"`threshold` must be above 0 and at most 1. Received: {threshold}. 0.8 is usual.")
    index = MinHashLSH(min(threshold, _LONGEST_BANDS_THRESHOLD), NUM_PERM, weights=_CANDIDATE_WEIGHTS)
    documents = np.arange(len(signatures))
    # A cluster is named by its first document. At the start each document is its own cluster.
    clusters = documents
    for band in range(index.b):
        keys = _band_keys(signatures, slice(band * index.r, (band + 1) * index.r), release)
        first, second = _similar_pairs(signatures, keys, clusters, threshold)
        if len(first):
            clusters = _joined(clusters, first, second)
    return clusters


@functools.cache
def _permutations() -> tuple[np.ndarray, np.ndarray]:
    """Returns the factors and addends, both uint32 `[NUM_PERM]`, of datasketch's scheme "affine32"."""
    factors, addends = MinHash(NUM_PERM, scheme="affine32").permutations
    return factors, addends


def _band_keys(signatures: np.ndarray, band: slice, release: Callable[[], None]) -> np.ndarray:
    """Returns uint64 `[documents]`: documents have equal keys if all their values in the band are equal."""
    keys = np.zeros(len(signatures), np.uint64)
    for start in range(0, len(signatures), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        for column in signatures[start : start + _CHUNK, band].T:
            chunk[:] = mixed(chunk ^ column)
        release()
    return keys


def _similar_pairs(
    signatures: np.ndarray, keys: np.ndarray, clusters: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pairs (earlier, later) of similar documents with equal keys that are not yet in one cluster.

    Within a group of equal keys, all documents are compared with the first. The documents that are not similar to it
    are then compared with the first among them, and so on. If all documents of a group are similar, this takes one
    comparison per document.
    """
    members, groups = _groups_of_equals(keys)
    pairs = [(members[:0], members[:0])]
    for _ in range(_MAX_LEADERS):
        if not len(members):
            break
        is_leader = np.append(True, groups[1:] != groups[:-1])
        leaders = members[is_leader][np.cumsum(is_leader) - 1]
        done = clusters[members] == clusters[leaders]
        compared = np.flatnonzero(~done)
        similar = compared[_similarities(signatures, leaders[compared], members[compared]) >= threshold]
        pairs.append((leaders[similar], members[similar]))
        done[similar] = True
        members, groups = members[~done], groups[~done]
    first, second = zip(*pairs, strict=True)
    return np.concatenate(first), np.concatenate(second)


def _groups_of_equals(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the documents that share their key with another document, sorted by key, and their groups' numbers."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    same_as_previous = np.zeros(len(keys), bool)
    same_as_previous[1:] = ordered[1:] == ordered[:-1]
    shared = same_as_previous.copy()
    shared[:-1] |= same_as_previous[1:]
    return order[shared], np.cumsum(~same_as_previous[shared])


def _similarities(signatures: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns float64 `[pairs]`, the share of equal values of each pair's signatures."""
    result = np.empty(len(first))
    for start in range(0, len(first), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        result[chunk] = (signatures[first[chunk]] == signatures[second[chunk]]).mean(axis=1)
    return result


def _joined(clusters: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the clusters after the pairs were joined; each cluster is still named by its first document."""
    count = len(clusters)
    pairs = sparse.coo_array((np.ones(len(first), bool), (clusters[first], clusters[second])), shape=(count, count))
    _, components = sparse.csgraph.connected_components(pairs, directed=False)
    components = components[clusters]
    # The last assignment to an index wins. The documents are assigned backwards, so that the first document wins.
    firsts = np.empty(count, np.int64)
    firsts[components[::-1]] = np.arange(count)[::-1]
    return firsts[components]
