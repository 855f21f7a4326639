import numpy as np
import pytest
import tensorflow as tf

from modules.objectives.objective import LanguageModelling

SHARES = np.array([[[0.5, 0.5], [0.1, 0.9], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4], [0.9, 0.1]]])
BATCH = {"token_ids": tf.zeros([2, 3], tf.int32), "targets": tf.constant([[0, 1, 0], [0, 0, 1]])}
# probabilities of the targets:                                            0.5 0.9 0.2  0.3 0.6 0.1
WEIGHTS = tf.constant([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])


def model(inputs):
    """Returns logits whose exponentials do not sum to 1; softmax normalises them."""
    assert set(inputs) == {"token_ids"}
    return tf.constant(np.log(SHARES) + 3, tf.float32)


def test_the_sums_are_over_the_targets_that_count() -> None:
    loss, weight, metrics = LanguageModelling()(model, {**BATCH, "weights": WEIGHTS})
    assert float(loss) == pytest.approx(-np.log([0.5, 0.2, 0.1]).sum(), rel=1e-6)
    assert float(metrics["nll"]) == float(loss)
    assert float(weight) == 3
    loss, weight, _ = LanguageModelling()(model, BATCH)
    assert float(loss) == pytest.approx(-np.log([0.5, 0.9, 0.2, 0.3, 0.6, 0.1]).sum(), rel=1e-6)
    assert float(weight) == 6


def test_smoothing_spreads_a_share_of_the_target_over_the_vocabulary() -> None:
    # With two tokens the target is 0.9 and 0.1 instead of 1 and 0: half of the 0.2 returns to the token itself.
    loss, _, metrics = LanguageModelling(label_smoothing=0.2)(model, {**BATCH, "weights": WEIGHTS})
    by_hand = -0.9 * np.log([0.5, 0.2, 0.1]) - 0.1 * np.log([0.5, 0.8, 0.9])
    assert float(loss) == pytest.approx(by_hand.sum(), rel=1e-6)
    assert float(metrics["nll"]) == pytest.approx(-np.log([0.5, 0.2, 0.1]).sum(), rel=1e-6)
