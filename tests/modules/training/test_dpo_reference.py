import keras
import numpy as np
import pytest
import tensorflow as tf

from modules.objectives.dpo import REFERENCE, DirectPreferenceOptimization
from modules.training import loop, preference_pairs
from modules.training.dpo_reference import add_reference, with_reference
from modules.training.loss_curve import LossCurve
from modules.training.settings import TrainingSettings
from tests.toys.preferences import counting_pairs, counting_preferences
from tests.toys.training import SETTINGS, changed, tiny_model

PREFERENCES = changed(SETTINGS, dpo={"beta": 0.5})
OBJECTIVE = DirectPreferenceOptimization(beta=0.5)


def log_probability(model: keras.Model, tokens: list[int], answer: int) -> float:
    """Returns the log-probability of the tokens from place `answer` on, computed without batches and padding."""
    inputs = {"token_ids": np.array([tokens[:-1]]), "padding_mask": np.ones([1, len(tokens) - 1], bool)}
    logits = model(inputs, training=False).numpy()[0].astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return sum(np.log(shares[place - 1, tokens[place]]) for place in range(answer, len(tokens)))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_reference_equals_the_scores_of_a_frozen_copy(dropout: float) -> None:
    model = tiny_model(dropout=dropout)
    pairs = add_reference(counting_pairs(3), model, batch_size=2)
    by_hand = [
        [log_probability(model, [0, 1, 2, 3, 4, 5, 0], 3), log_probability(model, [0, 1, 2, 1, 0, 0], 3)],
        [log_probability(model, [0, 2, 3, 4, 5, 6, 0], 3), log_probability(model, [0, 2, 3, 2, 1, 0], 3)],
        [log_probability(model, [0, 3, 4, 5, 6, 7, 0], 3), log_probability(model, [0, 3, 4, 3, 2, 0], 3)],
    ]
    np.testing.assert_allclose(pairs.columns[REFERENCE], by_hand, rtol=1e-5)
    assert pairs.columns[REFERENCE].dtype == np.float32
    assert pairs.digest == counting_pairs(3).digest  # so that a checkpoint is found even if the last digits differ


def test_the_margin_is_zero_before_training() -> None:
    model = tiny_model()
    pairs = add_reference(counting_pairs(4), model, batch_size=4)
    sums = OBJECTIVE(model, preference_pairs.to_batch({name: tf.constant(c) for name, c in pairs.columns.items()}))
    assert float(sums.metrics["reward_margin"]) == pytest.approx(0, abs=1e-5)
    assert float(sums.loss / sums.weight) == pytest.approx(np.log(2), rel=1e-5)


def train(settings: TrainingSettings) -> tuple[keras.Model, LossCurve]:
    model = tiny_model(dtype=settings.precision)
    data = with_reference(counting_preferences(), model, settings)
    return model, loop.fit(model, OBJECTIVE, data, settings)


@pytest.mark.parametrize("options", [{}, {"precision": "mixed_bfloat16", "remat": True}])
def test_training_raises_margin_and_accuracy(options: dict[str, object]) -> None:
    _, curve = train(changed(PREFERENCES, **options))
    first, last = curve.points[0], curve.points[-1]
    assert first.loss == pytest.approx(np.log(2), abs=0.05)
    assert abs(first.metrics["reward_margin"]) < 0.1
    assert last.loss < 0.1
    assert last.metrics["reward_margin"] > 2
    assert last.metrics["reward_accuracy"] == 1.0
    assert curve.validation[-1].loss < 0.1
    assert set(curve.validation[-1].metrics) == {"reward_margin", "reward_accuracy"}
    assert curve.loss_unit is None


def test_micro_batches_learn_the_same_as_the_whole_batch() -> None:
    whole, parts = (train(changed(PREFERENCES, steps=3, micro_batches=count))[0] for count in (1, 4))
    for weight, weight_of_parts in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(weight, weight_of_parts, atol=2e-5)
