"""Scores are compared with an oracle that shares no code with the model: GPT-2 in NumPy, in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from modules.export import document_scorer
from modules.export.document_scorer import DocumentScorer
from modules.model.cached_gpt2 import CachedGPT2
from tests.toys.numpy_gpt2 import END, oracle
from tests.toys.release import reference_logits, tiny_backbone


def _documents(*lengths: int) -> list[list[int]]:
    numbers = np.random.default_rng(3)
    return [numbers.integers(0, END, length).tolist() for length in lengths]


def _scorer(sequence_length: int) -> DocumentScorer:
    return DocumentScorer(CachedGPT2(tiny_backbone()), end_of_text_id=END, sequence_length=sequence_length)


@pytest.mark.parametrize("tokens_per_chunk", [2048, 24])
def test_sums_equal_those_of_the_oracle(tokens_per_chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_scorer, "TOKENS_PER_CHUNK", tokens_per_chunk)
    # Empty, one token, just under, at and over one window (16 targets with end-of-text), and several windows.
    documents = _documents(0, 1, 14, 15, 16, 17, 100, 3)
    score = tf.function(_scorer(16).score)  # in a graph, as the SavedModel runs it
    nll_sum, num_tokens, _ = score(tf.ragged.constant(documents, dtype=tf.int64))
    assert num_tokens.numpy().tolist() == [1, 2, 15, 16, 17, 18, 101, 4]
    np.testing.assert_allclose(nll_sum, [oracle(document, 16) for document in documents], rtol=1e-6)


@pytest.mark.parametrize("tokens_per_chunk", [2048, 24])
def test_only_targets_that_the_mask_counts_are_summed(tokens_per_chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_scorer, "TOKENS_PER_CHUNK", tokens_per_chunk)
    documents = _documents(4, 0, 50, 3, 43)
    # The first two windows of 16 of the third document hold no target that counts. The completion of the last document
    # is longer than two windows, and every token of it is scored.
    masks = [[0, 1, 0, 1], [], [0] * 40 + [1] * 10, [0, 0, 0], [0] * 3 + [1] * 40]
    score = tf.function(_scorer(16).score)
    columns = (tf.ragged.constant(rows, dtype=tf.int64) for rows in (documents, masks))
    nll_sum, num_tokens, _ = score(*columns)
    assert num_tokens.numpy().tolist() == [3, 1, 11, 1, 41]
    expected = [oracle(document, 16, mask) for document, mask in zip(documents, masks, strict=True)]
    np.testing.assert_allclose(nll_sum, expected, rtol=1e-6)


@pytest.mark.parametrize("stride", [1, 5, 8, 15, 16])
def test_overlapping_windows_score_every_token_once_and_with_more_context(stride: int) -> None:
    documents = _documents(0, 1, 15, 16, 17, 23, 24, 25, 60)
    scores = _scorer(16).score(tf.ragged.constant(documents, dtype=tf.int64), stride=stride)
    assert scores.num_tokens.numpy().tolist() == [len(document) + 1 for document in documents]
    expected = [oracle(document, 16, stride=stride) for document in documents]
    np.testing.assert_allclose(scores.nll_sum, expected, rtol=1e-6)


def test_hits_are_the_targets_with_the_highest_probability() -> None:
    (document,) = _documents(7)
    # Two tokens become the most likely tokens of their places, which may make later tokens hits or misses as well.
    for place in (2, 5):
        document[place] = int(np.argmax(reference_logits([END, *document])[place]))
    likeliest = np.argmax(reference_logits([END, *document]), axis=-1).tolist()
    expected = sum(predicted == target for predicted, target in zip(likeliest, [*document, END], strict=True))
    assert expected >= 2
    scores = _scorer(16).score(tf.ragged.constant([document], tf.int64, ragged_rank=1))
    assert scores.num_correct.numpy().tolist() == [expected]


def test_a_stride_beyond_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"from 1 to the window's 8 tokens\. Received: 9"):
        _scorer(8).score(tf.ragged.constant([[1]], tf.int64), stride=9)


def test_a_mask_of_ones_changes_nothing() -> None:
    token_ids = tf.ragged.constant(_documents(5, 40, 0), dtype=tf.int64)
    scorer = _scorer(8)
    masked = scorer.score(token_ids, tf.ones_like(token_ids))
    for unmasked_scores, masked_scores in zip(scorer.score(token_ids), masked, strict=True):
        np.testing.assert_array_equal(unmasked_scores, masked_scores)


def test_a_document_scores_the_same_in_any_batch() -> None:
    documents = _documents(5, 40, 0, 12)
    scorer = _scorer(8)
    together = scorer.score(tf.ragged.constant(documents, dtype=tf.int64))[0].numpy()
    single = [scorer.score(tf.ragged.constant([row], tf.int64, ragged_rank=1))[0].numpy()[0] for row in documents]
    np.testing.assert_allclose(together, single, rtol=1e-6)


def test_a_model_with_equal_probabilities_needs_the_log_of_the_vocabulary_size_per_token() -> None:
    model = CachedGPT2(tiny_backbone())
    model.token_embedding.assign(tf.zeros_like(model.token_embedding))
    scorer = DocumentScorer(model, end_of_text_id=END, sequence_length=4)
    nll_sum, num_tokens, _ = scorer.score(tf.ragged.constant([[7] * 9, []], tf.int64))
    assert num_tokens.numpy().tolist() == [10, 1]
    np.testing.assert_allclose(nll_sum, [10 * math.log(259), math.log(259)], rtol=1e-6)


def test_no_documents_have_no_scores() -> None:
    nll_sum, num_tokens, _ = _scorer(8).score(tf.ragged.constant([], tf.int64, ragged_rank=1))
    assert nll_sum.shape == num_tokens.shape == [0]


def test_a_window_beyond_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match=r"from 1 to the context length, 48\. Received: 49"):
        _scorer(49)
