"""Scores equal those of Keras, of the SavedModel's scorer, and of the shipped file token by token."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from modules.evaluation.tflite_scoring import Score, negative_log_likelihood, score_document
from modules.export.document_scorer import DocumentScorer
from modules.export.tflite_files import PRECISIONS, scoring_file
from modules.model.cached_gpt2 import CachedGPT2
from modules.serving.litert_model import LiteRTModel
from tests.toys.release import converted_release, reference_logits, tiny_backbone

END = 258


@functools.cache
def _model(precision: str) -> LiteRTModel:
    return LiteRTModel(scoring_file(converted_release()[0].tflite(precision)))


def _score(precision: str, token_ids: list[int], loss_mask: list[int] | None = None, window: int = 16) -> Score:
    mask = [1] * len(token_ids) if loss_mask is None else loss_mask
    return score_document(_model(precision), token_ids, mask, end_of_text_id=END, sequence_length=window)


def _documents(*lengths: int) -> list[list[int]]:
    numbers = np.random.default_rng(3)
    return [numbers.integers(0, END, length).tolist() for length in lengths]


def test_negative_log_likelihood_equals_the_value_by_hand() -> None:
    # The probabilities are 1/4 and 3/4, and then three times 1/3.
    logits = np.log(np.array([[1, 3, 1e-30], [2, 2, 2]], np.float32))
    np.testing.assert_allclose(negative_log_likelihood(logits, np.array([0, 2])), [np.log(4), np.log(3)], rtol=1e-6)


def test_float16_gives_a_document_the_score_of_keras() -> None:
    # Windows of 4: [eot 1 2 3] [4 5]; targets [1 2 3 4] [5 eot].
    first, second = (reference_logits(inputs).astype(np.float64) for inputs in ([END, 1, 2, 3], [4, 5]))
    shares = [np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) for logits in (first, second)]
    expected = -np.log(shares[0][range(4), [1, 2, 3, 4]]).sum() - np.log(shares[1][range(2), [5, END]]).sum()
    score = _score("float16", [1, 2, 3, 4, 5], window=4)
    assert score.num_tokens == 6
    assert score.nll_sum == pytest.approx(expected, rel=1e-3)


def test_float16_gives_documents_the_scores_of_the_saved_model() -> None:
    # Documents with no token, one token, nearly one window (16 targets with end-of-text), exactly one window, a little
    # more than one window, and several windows.
    documents = _documents(0, 1, 14, 15, 16, 17, 100, 3)
    masks = [[1] * len(document) for document in documents]
    masks[4] = [0] * 15 + [1]
    masks[6] = [0] * 40 + [1, 0] * 30  # in its first two windows no token counts
    scorer = DocumentScorer(CachedGPT2(tiny_backbone()), end_of_text_id=END, sequence_length=16)
    columns = (tf.ragged.constant(rows, dtype=tf.int64) for rows in (documents, masks))
    expected = scorer.score(*columns)
    scores = [_score("float16", document, mask) for document, mask in zip(documents, masks, strict=True)]
    assert (
        [score.num_tokens for score in scores] == expected.num_tokens.numpy().tolist() == [1, 2, 15, 16, 2, 18, 31, 4]
    )
    np.testing.assert_allclose([score.nll_sum for score in scores], expected.nll_sum, rtol=2e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_score_equals_that_of_the_shipped_file_token_by_token(precision: str) -> None:
    shipped = LiteRTModel(converted_release()[0].tflite(precision))
    (document,) = _documents(31)
    inputs, targets = [END, *document], [*document, END]
    logits = np.stack([shipped.decode(token_id, position) for position, token_id in enumerate(inputs)])
    expected = negative_log_likelihood(logits, np.array(targets)).sum()
    assert _score(precision, document, window=32).nll_sum == pytest.approx(expected, rel=1e-6)
    # With short windows, and so less context, the score is different.
    assert abs(_score(precision, document, window=2).nll_sum - expected) > 1


def test_nan_logits_give_nan() -> None:
    logits = np.array([[0, np.nan], [0, 0]], np.float32)
    nll = negative_log_likelihood(logits, np.array([0, 0]))
    assert np.isnan(nll[0])
    assert nll[1] == pytest.approx(np.log(2))
