import numpy as np
import pytest
import tensorflow as tf

from modules.objectives.dpo import REFERENCE, DirectPreferenceOptimization, answer_log_probabilities

OBJECTIVE = DirectPreferenceOptimization(beta=0.5)


def test_the_loss_of_a_pair_equals_a_calculation_by_hand() -> None:
    # The probability of token 1 of two tokens at each place; only targets with a weight count.
    shares = np.array([[0.9, 0.8, 0.5], [0.3, 0.25, 0.5]])
    batch = {
        REFERENCE: tf.math.log([[0.3, 0.5]]),
        "token_ids": tf.zeros([1, 2, 3], tf.int32),
        "targets": tf.constant([[[0, 1, 1], [0, 1, 0]]]),
        "weights": tf.constant([[[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]]]),
    }

    def model(inputs):
        assert set(inputs) == {"token_ids", "padding_mask"}
        return tf.constant(np.log(np.stack([1 - shares, shares], axis=-1)) + 3, tf.float32)

    # chosen: 0.8 × 0.5 = 0.4, rejected: 0.25
    np.testing.assert_allclose(answer_log_probabilities(model, batch), np.log([[0.4, 0.25]]), rtol=1e-5)
    loss, weight, metrics = OBJECTIVE(model, batch)
    margin = 0.5 * (np.log(0.4 / 0.3) - np.log(0.25 / 0.5))  # 0.49
    assert float(metrics["reward_margin"]) == pytest.approx(margin, rel=1e-5)
    assert float(loss) == pytest.approx(-np.log(1 / (1 + np.exp(-margin))), rel=1e-5)  # 0.48
    assert (float(weight), float(metrics["reward_accuracy"])) == (1.0, 1.0)
    wrong = OBJECTIVE(model, {**batch, REFERENCE: tf.math.log([[0.5, 0.25]])})
    assert float(wrong.metrics["reward_margin"]) == pytest.approx(0.5 * np.log(0.4 / 0.5), rel=1e-5)
    assert float(wrong.metrics["reward_accuracy"]) == 0.0
    imitating = DirectPreferenceOptimization(beta=0.5, imitation=2.0)(model, batch)
    cross_entropy = -np.log(0.4) / 2  # the mean over the two tokens of the chosen answer
    assert float(imitating.loss - loss) == pytest.approx(2.0 * cross_entropy, rel=1e-5)
