"""Near-duplicate documents by MinHash, for a million documents in tens of bytes of memory each.

`signature` sketches a document's word 5-grams with datasketch's MinHash permutations; documents whose sketches
agree in a whole band of values are candidates (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
chapter 3), and each candidate is verified by the whole sketch. Bands are compared by sorting: datasketch's own
index keeps every band in dictionaries, about 5 kB a document.
"""

import functools

import numpy as np
from datasketch import MinHash, MinHashLSH
from scipy import sparse

from modules.cleaning.word_ngrams import mixed, ngram_hashes, word_hashes

WORDS = 5
# The estimated similarity's standard error is at most 1 / (2 * sqrt(128)) = 0.044; 0.035 at 0.8.
NUM_PERM = 128
# The weights of false and of missed candidates: false ones only cost the time to verify them.
_CANDIDATE_WEIGHTS = (0.1, 0.9)
# Above it bands become so long that nearly equal documents are missed.
_LONGEST_BANDS_THRESHOLD = 0.95
# So many different documents of one band's group are compared with the group's others.
_MAX_LEADERS = 100
_CHUNK = 2**14
_RUNS_AT_ONCE = 2**12


def signature(text: str) -> np.ndarray | None:
    """Returns uint32 `[NUM_PERM]`, the MinHash of the text's runs of `WORDS` words.

    The share of equal values of two signatures estimates the Jaccard similarity of the two sets of runs: the
    runs in both over the runs in either. Case, punctuation and spacing do not count.

    Returns:
        None for a text of fewer than `WORDS` words: short lines repeat naturally and are never near duplicates.
    """
    ngrams = ngram_hashes(word_hashes(text), WORDS)
    if not len(ngrams):
        return None
    # datasketch's own `update_batch` costs twice the time: it asks Python to hash each of our hashes again.
    factors, addends = _permutations()
    hashes = (ngrams >> np.uint64(32)).astype(np.uint32)
    smallest = np.full(NUM_PERM, 2**32 - 1, np.uint32)
    for start in range(0, len(hashes), _RUNS_AT_ONCE):
        permuted = factors * hashes[start : start + _RUNS_AT_ONCE] + addends
        np.minimum(smallest, permuted.min(axis=1), out=smallest)
    return smallest


def find_near_duplicates(signatures: np.ndarray, threshold: float) -> np.ndarray:
    """Returns bool `[documents]`, True for each document of which an earlier near duplicate stays.

    Near duplicates are joined to clusters by verified pairs, and the first document of each cluster stays: in a chain
    of versions, each like the next, the last is dropped even where it is unlike the first. Equal
    inputs give equal results. Most pairs at the threshold are found and nearly all of those 0.05 above it (at 0.8:
    87% and 97%); an unrelated pair would need 102 of 128 equal values.

    Args:
        signatures: uint32 `[documents, NUM_PERM]`, may be an `np.memmap`; it is read in chunks, and some 80
            bytes a document are held besides.
        threshold: The estimated Jaccard similarity from which two documents are near duplicates, above 0 to 1.

    Raises:
        ValueError: The signatures' shape or type, or the threshold is wrong.
    """
    if signatures.ndim != 2 or signatures.shape[1] != NUM_PERM or signatures.dtype != np.uint32:
        raise ValueError(
            f"`signatures` must be uint32 [documents, {NUM_PERM}]. "
            f"Received: {signatures.dtype} {list(signatures.shape)}. Stack what `signature` returns."
        )
    if not 0 < threshold <= 1:
        raise ValueError(f"`threshold` must be above 0 and at most 1. Received: {threshold}. 0.8 is usual.")
    index = MinHashLSH(min(threshold, _LONGEST_BANDS_THRESHOLD), NUM_PERM, weights=_CANDIDATE_WEIGHTS)
    documents = np.arange(len(signatures))
    # Each document's cluster by its first document; at the start everyone is alone.
    clusters = documents
    for band in range(index.b):
        keys = _band_keys(signatures, slice(band * index.r, (band + 1) * index.r))
        first, second = _similar_pairs(signatures, keys, clusters, threshold)
        if len(first):
            clusters = _joined(clusters, first, second)
    return clusters != documents


@functools.cache
def _permutations() -> tuple[np.ndarray, np.ndarray]:
    """The factors and addends, both uint32 `[NUM_PERM, 1]`, of datasketch's scheme "affine32"."""
    factors, addends = MinHash(NUM_PERM, scheme="affine32").permutations
    return factors[:, np.newaxis].copy(), addends[:, np.newaxis].copy()


def _band_keys(signatures: np.ndarray, band: slice) -> np.ndarray:
    """uint64 `[documents]`, equal where all values of the band are equal."""
    keys = np.zeros(len(signatures), np.uint64)
    for start in range(0, len(signatures), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        for column in signatures[start : start + _CHUNK, band].T:
            chunk[:] = mixed(chunk ^ column)
    return keys


def _similar_pairs(
    signatures: np.ndarray, keys: np.ndarray, clusters: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (earlier, later) of documents with equal keys that are similar and not yet in one cluster.

    Within a group of equal keys all are compared with the first, those unlike it with the first of them, and so
    on: one comparison a document where a group is similar throughout.
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
    """The documents that share their key with another, in order of the keys, and the number of each one's group."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    same_as_previous = np.zeros(len(keys), bool)
    same_as_previous[1:] = ordered[1:] == ordered[:-1]
    shared = same_as_previous.copy()
    shared[:-1] |= same_as_previous[1:]
    return order[shared], np.cumsum(~same_as_previous[shared])


def _similarities(signatures: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """float64 `[pairs]`, the share of equal values of each pair's signatures."""
    result = np.empty(len(first))
    for start in range(0, len(first), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        result[chunk] = (signatures[first[chunk]] == signatures[second[chunk]]).mean(axis=1)
    return result


def _joined(clusters: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The clusters after the pairs were joined, each still named by its first document."""
    count = len(clusters)
    pairs = sparse.coo_array((np.ones(len(first), bool), (clusters[first], clusters[second])), shape=(count, count))
    _, components = sparse.csgraph.connected_components(pairs, directed=False)
    components = components[clusters]
    # Of repeated indices the last assignment stays: going backwards, the first document's.
    firsts = np.empty(count, np.int64)
    firsts[components[::-1]] = np.arange(count)[::-1]
    return firsts[components]
