"""A tiny training run; some tests start it in its own process and kill it."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modules.model import gpt2
from modules.objectives.objective import LanguageModelling
from modules.training import loop, packing
from modules.training.loss_curve import LossCurve
from modules.training.settings import TrainingSettings
from modules.training.stored_rows import TrainingData, store_rows

SETTINGS = TrainingSettings(steps=30, batch_size=4, learning_rate=1e-2, warmup_steps=10, weight_decay=0.1)
MODEL = gpt2.ModelSettings(
    preset=None, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=None, context_length=8, dropout=0.0
)

TOKENS = np.random.default_rng(0).integers(0, 10, (4, 9)).astype(np.int32)
# 8, 1, 2 and 0 targets count: so unequal that the mean of the rows' means is far from the mean of all targets.
WEIGHTS = np.array([[1] * 8, [0] * 7 + [1], [1, 1] + [0] * 6, [0] * 8], np.float32)
BATCH = {
    "token_ids": TOKENS[:, :-1], "targets": TOKENS[:, 1:], "weights": WEIGHTS, "padding_mask": np.ones((4, 8), bool),
}  # fmt: skip


def changed(settings: Any, **values: Any) -> TrainingSettings:
    """Returns validated settings with some values replaced."""
    return TrainingSettings(**{**settings.model_dump(exclude_unset=True), **values})


def counting_windows(count: int) -> tf.data.Dataset:
    """Makes the windows 0 1 2 … 8, 1 2 3 … 9 and so on: each token determines the next token."""
    return tf.data.Dataset.range(count).map(
        lambda n: {"token_ids": tf.cast((tf.range(9, dtype=tf.int64) + n) % 10, tf.int32)}
    )


def counting_data(train: int = 40, validation: int = 10) -> TrainingData:
    """Stores counting windows as training data."""
    return TrainingData(
        train=store_rows(counting_windows(train)),
        validation=store_rows(counting_windows(validation)),
        to_batch=packing.to_batch,
        tokens_per_row=8,
    )


def backwards() -> TrainingData:
    """Returns data whose validation windows count down, so that the validation loss rises again after a first fall."""
    windows = counting_windows(10).map(lambda window: {"token_ids": window["token_ids"][::-1]})
    return dataclasses.replace(counting_data(), validation=store_rows(windows))


def tiny_model(*, dropout: float = 0.0, dtype: str = "float32", seed: int = 0) -> keras.Model:
    """Builds a language model with ten tokens; equal seeds give equal weights."""
    keras.utils.set_random_seed(seed)
    return gpt2.language_model(
        gpt2.build_backbone(gpt2.ModelSettings(**{**vars(MODEL), "dropout": dropout}), vocabulary_size=10, dtype=dtype)
    )


def train(
    settings: TrainingSettings, *, data: TrainingData | None = None, **options: Any
) -> tuple[keras.Model, LossCurve]:
    """Trains a tiny model."""
    model = tiny_model(dtype=settings.precision, dropout=options.pop("dropout", 0.0), seed=settings.seed)
    objective = LanguageModelling(label_smoothing=settings.label_smoothing)
    curve = loop.fit(model, objective, data or counting_data(), settings, **options)
    return model, curve


def train_in_folder(folder: str, settings: TrainingSettings) -> None:
    """Trains with dropout and a checkpoint; writes `steps`, one line per step, and finally `weights.npz`."""
    with open(Path(folder, "steps"), "a") as file:
        data = counting_data()
        model = tiny_model(dropout=0.1, seed=settings.seed)
        checkpoint = loop.checkpoint_file(f"{folder}/checkpoints", model, data, settings, facts={})
        curve = loop.fit(
            model, LanguageModelling(), data, settings, checkpoint=checkpoint, callbacks=[StepLog(file.fileno())]
        )
    losses = [point.loss for point in curve.points]
    np.savez(Path(folder, "weights.npz"), *model.get_weights(), losses=losses)


class StepLog(keras.callbacks.Callback):
    """Callback that writes the number of each finished step to a file."""

    def __init__(self, descriptor: int):
        super().__init__()
        self._descriptor = descriptor

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        os.write(self._descriptor, b"%d\n" % logs["step"])
