"""Negative log-likelihood of documents under a TFLite file, as `modules.export.document_scorer` defines it.

It needs only NumPy and `ai_edge_litert`. A compiled model scores any number of documents, each window in a few calls
of `score_<N>`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from modules.serving.litert_model import LiteRTModel


class Score(NamedTuple):
    """The score of a document over the targets that count.

    Attributes:
        nll_sum: The sum of their negative log-likelihoods, in nats.
        num_tokens: The number of these targets.
    """

    nll_sum: float
    num_tokens: int


def score_document(
    model: LiteRTModel,
    token_ids: Sequence[int],
    loss_mask: Sequence[int],
    *,
    end_of_text_id: int,
    sequence_length: int,
) -> Score:
    """Scores one document in windows that do not overlap.

    With `[a, b, c]` and windows of 2, the model sees `[eot, a]` and `[b, c]`, and predicts `[a, b]` and `[c, eot]`.

    Args:
        model: A model with the signature `score_<N>`.
        token_ids: The document without the end-of-text tokens around it; it may be empty.
        loss_mask: 1 for each token that counts, and 0 for the other tokens. The last end-of-text always counts.
        end_of_text_id: Id of the token between documents.
        sequence_length: The number of tokens in a window, at most the model's context.
    """
    inputs = [end_of_text_id, *token_ids]
    targets = np.array([*token_ids, end_of_text_id], np.int64)
    counted = np.array([*loss_mask, 1], bool)
    nll_sum = 0.0
    for start in range(0, len(inputs), sequence_length):
        window = slice(start, start + sequence_length)
        # Windows do not depend on each other, so a window in which nothing counts is skipped.
        if counted[window].any():
            nll_sum += float(_window_nll(model, inputs[window], targets[window])[counted[window]].sum())
    return Score(nll_sum, int(counted.sum()))


def _window_nll(model: LiteRTModel, inputs: Sequence[int], targets: np.ndarray) -> np.ndarray:
    """Returns the negative log-likelihood of each target of a window, float64 `[tokens]` in nats."""
    chunks, done = [], 0
    for logits in model.logits(inputs):
        chunks.append(negative_log_likelihood(logits, targets[done : done + len(logits)]))
        done += len(logits)
    return np.concatenate(chunks)


def negative_log_likelihood(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns -log softmax(logits)[target] for each token.

    Args:
        logits: float32 `[tokens, vocabulary_size]`.
        targets: Integer `[tokens]`.

    Returns:
        float64 `[tokens]` in nats; NaN where a logit is NaN.
    """
    largest = logits.max(axis=-1, keepdims=True)
    # Sums are in float64. The exponentials may stay in float32: their relative error is 1e-7.
    normalizer = np.log(np.exp(logits - largest).sum(axis=-1, dtype=np.float64)) + largest[:, 0]
    return np.asarray(normalizer - logits[np.arange(len(targets)), targets], np.float64)
