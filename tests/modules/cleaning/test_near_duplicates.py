"""Near duplicates are found, texts on the same topic are kept, and memory is bounded."""

import random
import tracemalloc

import numpy as np
import pytest

from modules.cleaning import near_duplicates
from modules.cleaning.near_duplicates import NUM_PERM, WORDS, find_near_duplicates, signature
from modules.cleaning.word_ngrams import ngram_hashes, word_hashes

VOCABULARY = [f"{syllable}{ending}" for syllable in ("ba", "do", "ki", "lu", "me") for ending in "abcdefghijklmnopqrst"]


def essay(seed: int, words: int = 200) -> str:
    """Returns a random text. All texts share a vocabulary of 100 words, like texts on one topic."""
    return " ".join(random.Random(seed).choices(VOCABULARY, k=words))


def duplicates_among(*texts: str, threshold: float = 0.8) -> list[bool]:
    return find_near_duplicates(np.stack([signature(text) for text in texts]), threshold).tolist()


def jaccard(first: str, second: str) -> float:
    """Returns the exact similarity that signatures estimate."""
    a, b = (set(ngram_hashes(word_hashes(text), WORDS).tolist()) for text in (first, second))
    return len(a & b) / len(a | b)


def edited(text: str, edits: int, seed: int) -> str:
    """Returns the text with `edits` words replaced at random places."""
    rng = random.Random(seed)
    words = text.split()
    for place in rng.sample(range(len(words)), edits):
        words[place] = f"new{rng.random()}"
    return " ".join(words)


def test_the_first_of_several_near_duplicates_is_kept():
    original, unrelated = essay(1), essay(2)
    one_word_changed = edited(original, 1, seed=3)
    with_a_paragraph = original + "\n\n" + essay(4, words=20)
    assert round(jaccard(original, one_word_changed), 2) == 0.95
    assert round(jaccard(original, with_a_paragraph), 2) == 0.91
    found = duplicates_among(unrelated, original, one_word_changed, with_a_paragraph, original.upper())
    assert found == [False, False, True, True, True]


def test_texts_that_only_share_a_topic_are_kept():
    assert duplicates_among(essay(1), essay(2), essay(1, words=100) + " " + essay(2, words=100)) == [False] * 3
    sonnet = "Shall I compare thee to a summer's day? Thou art more lovely and more temperate"
    assert duplicates_among(sonnet, sonnet.replace("summer's", "winter's").replace("lovely", "cold")) == [False, False]


def test_case_punctuation_and_spacing_do_not_count():
    assert duplicates_among("Down with him, down with him!", "DOWN with him -\ndown with him") == [False, True]


def test_long_texts_have_the_same_signature_when_hashed_in_parts(monkeypatch):
    whole = signature(essay(1)).tolist()
    monkeypatch.setattr(near_duplicates, "_RUN_BATCH_SIZE", 7)
    assert signature(essay(1)).tolist() == whole


def test_short_lines_have_no_signature():
    assert signature("Ay, my good lord.") is None
    assert signature("") is None
    assert signature("Ay, my very good lord.").shape == (NUM_PERM,)
    assert signature("Ay, my very good lord.").dtype == np.uint32


def test_the_share_of_equal_values_estimates_the_similarity():
    """The estimate of 300 pairs has no bias, and its standard error is that of a share of 128 draws."""
    errors = []
    for seed in range(300):
        text, changed = essay(seed), edited(essay(seed), 4, seed)
        errors.append(np.mean(signature(text) == signature(changed)) - jaccard(text, changed))
    assert abs(np.mean(errors)) < 0.005
    assert round(float(np.std(errors)), 2) == 0.03  # sqrt(0.82 * 0.18 / 128)


def test_recall_and_precision_against_exact_similarity():
    """300 pairs have 1 to 12 of 200 words replaced: similarity 0.95 to 0.5. Between 0.75 and 0.85 chance decides."""
    pairs = [(essay(seed), edited(essay(seed), 1 + seed % 12, seed)) for seed in range(300)]
    exact = np.array([jaccard(*pair) for pair in pairs])
    found = np.array(duplicates_among(*(text for pair in pairs for text in pair)))[1::2]
    assert found[exact >= 0.85].all()
    assert 0.5 < found[(exact >= 0.8) & (exact < 0.85)].mean() < 1
    assert not found[exact < 0.75].any()


def test_only_the_first_text_of_a_chain_is_kept():
    """Each step replaces 2 of 200 words: neighbours are similar, but the first and the last text are not."""
    chain = [essay(1)]
    for seed in range(5):
        chain.append(edited(chain[-1], 2, seed))
    assert jaccard(chain[0], chain[1]) > 0.85
    assert jaccard(chain[0], chain[-1]) < 0.7
    assert duplicates_among(*chain, threshold=0.8)[:3] == [False, True, True]


@pytest.mark.parametrize("threshold", [0.5, 0.9, 1.0])
def test_signatures_as_similar_as_the_threshold_are_near_duplicates(threshold):
    """The signatures share 100%, 95%, 75% and 25% of their values with the first signature."""
    rng = np.random.default_rng(0)
    first, noise = rng.integers(0, 2**32, (2, NUM_PERM), dtype=np.uint32)
    rows = []
    for equal in (1.0, 0.95, 0.75, 0.25):
        rows.append(np.where(np.arange(NUM_PERM) < equal * NUM_PERM, first, noise + np.uint32(len(rows))))
    found = find_near_duplicates(np.stack([first, *rows]), threshold).tolist()
    assert found == [False] + [share >= threshold for share in (1.0, 0.95, 0.75, 0.25)]


def test_equal_input_gives_equal_output():
    signatures = np.stack([signature(edited(essay(seed // 3), 1, seed)) for seed in range(60)])
    first = find_near_duplicates(signatures, 0.8)
    assert first.tolist() == find_near_duplicates(signatures.copy(), 0.8).tolist()
    assert first.sum() == 40


def test_no_document_and_a_single_document_have_no_duplicates():
    assert find_near_duplicates(np.empty((0, NUM_PERM), np.uint32), 0.8).tolist() == []
    assert duplicates_among(essay(1)) == [False]


@pytest.mark.parametrize(
    ("signatures", "threshold", "message"),
    [
        (np.zeros((2, 64), np.uint32), 0.8, r"must be uint32 \[documents, 128\]\. Received: uint32 \[2, 64\]"),
        (np.zeros((2, NUM_PERM)), 0.8, r"Received: float64 \[2, 128\]"),
        (np.zeros((2, NUM_PERM), np.uint32), 0.0, r"`threshold` must be above 0 and at most 1\. Received: 0\.0"),
        (np.zeros((2, NUM_PERM), np.uint32), 1.5, r"Received: 1\.5"),
    ],
)
def test_wrong_input_is_refused_with_its_rule(signatures, threshold, message):
    with pytest.raises(ValueError, match=message):
        find_near_duplicates(signatures, threshold)


def test_memory_is_tens_of_bytes_per_document(tmp_path):
    """A file holds 100,000 signatures of 512 bytes; every fifth is a near duplicate of the signature before it."""
    documents = 100_000
    signatures = np.lib.format.open_memmap(tmp_path / "signatures.npy", "w+", np.uint32, (documents, NUM_PERM))
    signatures[:] = np.random.default_rng(0).integers(0, 2**32, signatures.shape, dtype=np.uint32)
    signatures[5::5] = signatures[4:-1:5]
    signatures[5::5, 7] = 0
    tracemalloc.start()
    found = find_near_duplicates(signatures, 0.8)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.flatnonzero(found).tolist() == list(range(5, documents, 5))
    chunks_bytes = 40 * 2**20
    assert peak_bytes < chunks_bytes + 100 * documents
