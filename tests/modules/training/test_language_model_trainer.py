import functools

import keras
import numpy as np
import pytest

from modules.model.fused_decoder import fuse
from modules.objectives.objective import LanguageModelling
from modules.training import optimizers
from modules.training.language_model_trainer import LanguageModelTrainer
from tests.toys.training import BATCH, SETTINGS, WEIGHTS, changed, tiny_model


def fit(model: LanguageModelTrainer, steps: int) -> dict[str, list[float]]:
    """Takes training steps on the batch; returns the logs of each step."""
    return model.fit(BATCH, batch_size=4, epochs=steps, shuffle=False, verbose=0).history


def nll(model: LanguageModelTrainer, *, rows: slice = slice(None), batch_size: int = 4) -> float:
    batch = {name: column[rows] for name, column in BATCH.items()}
    return model.evaluate(batch, batch_size=batch_size, verbose=0, return_dict=True)["nll"]


@functools.cache
def trained_model(
    steps: int = 3, *, jit_compile: bool = False, clip: float = 1.0, **changes
) -> tuple[keras.Model, dict]:
    """Returns a tiny model after some steps on the batch, and the logs of the last step."""
    settings = changed(SETTINGS, warmup_steps=0, **changes)
    language_model = tiny_model(dtype=settings.precision)
    objective = LanguageModelling(label_smoothing=settings.label_smoothing)
    model = LanguageModelTrainer(
        fuse(language_model), objective, micro_batches=settings.micro_batches, gradient_clip_norm=clip
    )
    model.compile(optimizers.build_optimizer(settings, 30), jit_compile=jit_compile)
    return language_model, {name: values[-1] for name, values in fit(model, steps).items()}


def assert_close(model: keras.Model, expected: keras.Model, tolerance: float = 2e-6) -> None:
    for weight, expected_weight in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected_weight, atol=tolerance)


@pytest.mark.parametrize(("micro_batches", "jit_compile"), [(2, False), (4, True)])
def test_micro_batches_learn_the_same_as_the_whole_batch(micro_batches: int, jit_compile: bool) -> None:
    whole, whole_logs = trained_model()
    parts, parts_logs = trained_model(micro_batches=micro_batches, jit_compile=jit_compile)
    for name in ("loss", "nll", "gradient_norm", "learning_rate", "step"):
        assert parts_logs[name] == pytest.approx(whole_logs[name], rel=1e-5), name
    assert_close(whole, parts, 1e-5)


def test_a_whole_batch_learns_the_same_as_in_keras_own_training_step() -> None:
    ours, logs = trained_model()
    model = tiny_model()
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(0.01, 30), beta_2=0.95, weight_decay=0.1, global_clipnorm=1.0
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    model.compile(optimizer, loss, jit_compile=False)
    inputs = {name: BATCH[name] for name in ("token_ids", "padding_mask")}
    for _ in range(3):
        keras_loss = model.train_on_batch(inputs, BATCH["targets"], WEIGHTS)
        model.reset_metrics()
    assert logs["loss"] == pytest.approx(float(keras_loss), rel=1e-5)
    assert_close(model, ours, 1e-5)


def test_gradients_are_clipped_by_their_global_norm() -> None:
    def step(clip: float) -> tuple[list[np.ndarray], float]:
        language_model = tiny_model()
        before = language_model.get_weights()
        model = LanguageModelTrainer(language_model, LanguageModelling(), gradient_clip_norm=clip)
        model.compile(keras.optimizers.SGD(1.0), jit_compile=False)
        norm = fit(model, 1)["gradient_norm"][0]
        return [old - new for old, new in zip(before, language_model.get_weights(), strict=True)], norm

    free, norm = step(1e9)
    assert norm == pytest.approx(np.sqrt(sum((change**2).sum() for change in free)), rel=1e-4)
    clipped, same_norm = step(norm / 4)
    assert same_norm == pytest.approx(norm)
    for free_change, clipped_change in zip(free, clipped, strict=True):
        np.testing.assert_allclose(free_change / 4, clipped_change, atol=1e-6)


def test_evaluation_is_a_mean_over_targets_and_not_over_batches() -> None:
    model = LanguageModelTrainer(tiny_model(), LanguageModelling())
    model.compile(keras.optimizers.SGD(), jit_compile=False)
    whole = nll(model)
    assert nll(model, batch_size=1) == pytest.approx(whole, rel=1e-6)
    first, second, third = (nll(model, rows=slice(row, row + 1)) for row in range(3))
    assert whole == pytest.approx((8 * first + second + 2 * third) / 11, rel=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_float16_gradients_that_overflow_skip_the_step_and_halve_the_scale(jit_compile: bool) -> None:
    settings = changed(SETTINGS, precision="mixed_float16", warmup_steps=0)
    language_model = tiny_model(dtype="mixed_float16")
    before = language_model.get_weights()
    model = LanguageModelTrainer(language_model, LanguageModelling())
    optimizer = optimizers.build_optimizer(settings, 30)
    optimizer.initial_scale = 2.0**40  # the largest float16 is 65,504
    model.compile(optimizer, jit_compile=jit_compile)

    logs = fit(model, 1)
    assert (logs["loss_scale"], logs["step"]) == ([2.0**40], [1])
    assert not np.isfinite(logs["gradient_norm"][0])
    for old, new in zip(before, language_model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)

    logs = fit(model, 59)
    assert logs["loss_scale"] == sorted(logs["loss_scale"], reverse=True)
    skipped = sum(not np.isfinite(norm) for norm in logs["gradient_norm"])
    assert skipped < 35
    assert logs["loss_scale"][-1] == 2.0 ** (39 - skipped)
    assert logs["loss"][-1] < 0.5 * logs["loss"][0]
    # Skipped steps do not advance the learning rate schedule.
    assert (logs["step"][-1], int(optimizer.iterations)) == (60, 59 - skipped)


def test_the_float16_loss_scale_does_not_change_the_loss_or_the_gradients() -> None:
    _, scaled_logs = trained_model(precision="mixed_float16")
    _, logs = trained_model()
    assert scaled_logs["loss_scale"] == 2.0**15
    assert scaled_logs["gradient_norm"] == pytest.approx(logs["gradient_norm"], rel=1e-2)
    assert scaled_logs["loss"] == pytest.approx(logs["loss"], rel=1e-2)
