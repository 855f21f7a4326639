import dataclasses
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from modules import gpt2
from modules.errors import InputError
from modules.training import TrainingSettings, TrainingWatch, build_optimizer, fit

SETTINGS = TrainingSettings(
    steps=30, epochs=None, batch_size=4, learning_rate=1e-2, warmup_steps=10, weight_decay=0.1,
    gradient_clip_norm=1.0, precision="float32", jit_compile=False, seed=0,
)  # fmt: skip
MODEL = gpt2.ModelSettings(
    preset=None, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=None, context_length=8, dropout=0.0
)


def counting_windows(count: int) -> tf.data.Dataset:
    """Windows 0 1 2 … 8, 1 2 … 9: every next token follows from the last."""
    return tf.data.Dataset.range(count).map(lambda n: tf.cast((tf.range(9, dtype=tf.int64) + n) % 10, tf.int32))


def train(settings: TrainingSettings, log_dir: Path) -> tuple[keras.callbacks.History, keras.Model]:
    keras.utils.set_random_seed(settings.seed)
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=10, dtype=settings.precision)
    history = fit(backbone, counting_windows(40), counting_windows(10), settings, log_dir=str(log_dir))
    return history, backbone


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_learns_to_count_in_every_precision_with_float32_weights(tmp_path: Path, precision: str) -> None:
    settings = dataclasses.replace(SETTINGS, precision=precision, steps=60)
    history, backbone = train(settings, tmp_path)
    assert history.history["loss"][-1] < 0.5 < history.history["loss"][0]
    assert history.history["val_loss"][-1] < 0.5
    assert {variable.dtype for variable in backbone.trainable_variables} == {"float32"}
    assert list(tmp_path.rglob("events.out.*"))


@pytest.mark.parametrize(("steps", "epochs", "taken"), [(7, None, 7), (12, None, 12), (None, 1.5, 15)])
def test_takes_exactly_the_steps_asked_for(tmp_path: Path, steps, epochs, taken, monkeypatch) -> None:
    done = []
    monkeypatch.setattr("modules.progress.report", lambda node, *, done, **_: reported.append(done))
    reported = done
    train(dataclasses.replace(SETTINGS, steps=steps, epochs=epochs), tmp_path)
    assert reported[-1] == taken


def test_same_seed_same_weights(tmp_path: Path) -> None:
    weights = [train(SETTINGS, tmp_path)[1].get_weights() for _ in range(2)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_schedule_rises_to_the_peak_and_falls_to_zero() -> None:
    rate = build_optimizer(SETTINGS, 30)._learning_rate
    assert [float(rate(step)) for step in (0, 5, 10, 20, 30)] == pytest.approx([0.0, 0.005, 0.01, 0.005, 0.0], abs=1e-7)


def test_biases_and_norms_do_not_decay() -> None:
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=10, dtype="float32")
    optimizer = build_optimizer(SETTINGS, 30)
    optimizer.build(backbone.trainable_variables)
    decayed = {v.name for v in backbone.trainable_variables if optimizer._use_weight_decay(v)}
    assert decayed == {"kernel", "embeddings"}


def test_a_loss_that_is_no_number_stops_and_names_the_step() -> None:
    watch = TrainingWatch(tokens_a_step=8, steps=3)
    watch.on_train_batch_begin(0)
    watch.on_train_batch_end(0, {"loss": 2.0})
    with pytest.raises(FloatingPointError, match=r"loss became nan at step 2 of 3; lower `training.learning_rate`"):
        watch.on_train_batch_end(1, {"loss": math.nan})


def test_too_little_text_is_told_with_its_cure(tmp_path: Path) -> None:
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=10, dtype="float32")
    with pytest.raises(InputError, match=r"the train split fills 3 windows of 9 tokens, fewer than 4; add text"):
        fit(backbone, counting_windows(3), counting_windows(3), SETTINGS, log_dir=str(tmp_path))
    with pytest.raises(InputError, match=r"the eval split fills 0 windows"):
        fit(backbone, counting_windows(9), counting_windows(0), SETTINGS, log_dir=str(tmp_path))
