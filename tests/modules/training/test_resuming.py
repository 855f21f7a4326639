"""Training runs that resume from the checkpoint of a step end with the same bits as uninterrupted training runs."""

import functools
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from modules.model import gpt2, lora
from modules.objectives.objective import LanguageModelling
from modules.training import loop
from modules.training.checkpoint_file import CheckpointFile
from modules.training.loss_curve import LossCurve
from modules.training.settings import TrainingSettings
from modules.training.stored_rows import TrainingData
from tests.toys.training import MODEL, SETTINGS, backwards, changed, counting_data

# Every step is saved.
RESUMED = changed(SETTINGS, steps=12, warmup_steps=2, evaluate_every=3, checkpoint_seconds=0)


class CheckpointCopies(keras.callbacks.Callback):
    """A callback that keeps the checkpoint of every step (`name 1.npz`, …), and the steps' numbers and loss scales."""

    def __init__(self, file: CheckpointFile):
        super().__init__()
        self.steps: list[int] = []
        self.loss_scales: list[float] = []
        self._file = file

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        if self.steps:  # this step's checkpoint is not written yet
            shutil.copy(self._file.path, self._file.path.with_stem(f"{self._file.path.stem} {self.steps[-1]}"))
        self.steps.append(int(logs["step"]))
        self.loss_scales.append(logs["loss_scale"])


def train(
    file: CheckpointFile, data: TrainingData, settings: TrainingSettings, *, dropout: float = 0.1
) -> tuple[keras.Model, LossCurve, CheckpointCopies]:
    """Trains a tiny model, or its adapters; resumes from the file if it exists. Without dropout the model is fused."""
    keras.utils.set_random_seed(0)
    model_settings = gpt2.ModelSettings(**{**vars(MODEL), "dropout": dropout})
    backbone = gpt2.build_backbone(model_settings, vocabulary_size=10, dtype=settings.precision)
    if settings.lora:
        lora.apply(backbone, settings.lora)
    model, copies = gpt2.language_model(backbone), CheckpointCopies(file)
    curve = loop.fit(model, LanguageModelling(), data, settings, checkpoint=file, callbacks=[copies])
    return model, curve, copies


def assert_same(
    found: tuple[keras.Model, LossCurve, CheckpointCopies], expected: tuple[keras.Model, LossCurve, CheckpointCopies]
) -> None:
    """Compares weights, states of the dropout and all losses."""
    for variable, expected_variable in zip(found[0].variables, expected[0].variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected_variable.numpy(), strict=True)
    assert [(point.step, point.loss, point.gradient_norm) for point in found[1].points] == [
        (point.step, point.loss, point.gradient_norm) for point in expected[1].points
    ]
    assert found[1].validation == expected[1].validation


@pytest.mark.parametrize(
    ("dropout", "changes"),
    [
        (0.1, {"precision": "mixed_float16"}),
        (0.1, {"remat": True, "micro_batches": 2}),
        (0.1, {"lora": {"rank": 2}, "remat": True}),
        (0.1, {"lora": {"rank": 2, "quantization": "int8"}}),
        (0.1, {"lora": {"rank": 2, "quantization": "int4"}, "precision": "mixed_bfloat16"}),
        (0.0, {"precision": "mixed_float16", "remat": True}),
        (0.0, {"lora": {"rank": 2}, "precision": "mixed_bfloat16"}),
    ],
    ids=str,
)
def test_an_interruption_does_not_change_a_bit_of_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float, changes: dict
) -> None:
    # The loss scale starts far from overflow, and doubles every 3 steps instead of every 2,000.
    scaled = functools.partial(keras.optimizers.LossScaleOptimizer, initial_scale=2.0**10, dynamic_growth_steps=3)
    monkeypatch.setattr(keras.optimizers, "LossScaleOptimizer", scaled)
    settings, data = changed(RESUMED, **changes), counting_data()
    whole = train(CheckpointFile(tmp_path / "whole.npz"), data, settings, dropout=dropout)
    resumed = train(CheckpointFile(tmp_path / "whole 7.npz"), data, settings, dropout=dropout)
    assert_same(resumed, whole)
    assert (whole[2].steps, resumed[2].steps) == (list(range(1, 13)), [8, 9, 10, 11, 12])
    assert resumed[2].loss_scales == whole[2].loss_scales[7:]
    growing = [2.0 ** (10 + step // 3) for step in range(12)]
    assert whole[2].loss_scales == (growing if settings.precision == "mixed_float16" else [1.0] * 12)


def test_the_best_weights_and_the_patience_survive_an_interruption(tmp_path: Path) -> None:
    settings, data = changed(RESUMED, steps=60, evaluate_every=2, early_stopping=3, restore_best=True), backwards()
    whole = train(CheckpointFile(tmp_path / "whole.npz"), data, settings)
    losses = [point.loss for point in whole[1].validation]
    best = int(np.argmin(losses))
    stopped = whole[2].steps[-1]
    assert (len(losses), stopped) == (best + 1 + 3, 2 * len(losses))
    # At this checkpoint, two of the three evaluations without a lower loss are done.
    resumed = train(CheckpointFile(tmp_path / f"whole {stopped - 1}.npz"), data, settings)
    assert resumed[2].steps == [stopped]
    assert_same(resumed, whole)
    # A training run that stopped early is not resumed.
    done = train(CheckpointFile(tmp_path / "whole.npz"), data, settings)
    assert done[2].steps == []
    assert_same(done, whole)


def test_a_checkpoint_of_adapters_does_not_hold_the_frozen_weights(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "state.npz")
    train(file, counting_data(), changed(RESUMED, steps=1, lora={"rank": 2}))
    saved = file.read()
    assert saved is not None
    names = {name.partition(" ")[2] for name in saved.arrays}
    assert {name for name in names if not name.endswith(("_momentum", "_velocity"))} == {
        "lora_kernel_a", "lora_kernel_b", "seed_generator_state", "iteration", "step"
    }  # fmt: skip
