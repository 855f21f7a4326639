import dataclasses
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from modules.model import gpt2
from modules.objectives.objective import Batch, LanguageModelling, Model, Sums
from modules.training import loop, packing
from modules.training.callbacks import check_numbers, hours_minutes_seconds
from modules.training.stored_rows import TrainingData, store_rows
from tests.toys.training import MODEL, SETTINGS, backwards, changed, counting_data, counting_windows, tiny_model, train


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_model_learns_to_count_in_every_precision_with_float32_weights(precision: str) -> None:
    model, curve = train(changed(SETTINGS, precision=precision, steps=60))
    assert curve.points[-1].loss < 0.5 < curve.points[0].loss
    assert [point.step for point in curve.validation] == [15, 30, 45, 60]
    assert curve.validation[-1].loss < 0.5
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}


@pytest.mark.parametrize(
    ("changes", "evaluations"),
    [
        ({"steps": 7}, [2, 4, 6, 7]),
        ({"steps": None, "epochs": 1.5}, [4, 8, 12, 15]),  # 40 windows in batches of 4
        ({"steps": 7, "evaluate_every": 3}, [3, 6, 7]),
    ],
)
def test_a_run_has_the_requested_steps_and_evaluations(changes: dict, evaluations: list[int]) -> None:
    _, curve = train(changed(SETTINGS, **changes))
    assert [point.step for point in curve.points] == list(range(1, evaluations[-1] + 1))
    assert [point.step for point in curve.validation] == evaluations


def test_isolated_documents_train_the_backbone() -> None:
    windows = counting_windows(40).map(lambda window: {**window, "document_index": tf.constant([0] * 4 + [1] * 5)})
    rows = store_rows(windows)
    data = TrainingData(train=rows, validation=rows, to_batch=packing.to_batch, tokens_per_row=8)
    keras.utils.set_random_seed(0)
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=10, dtype="mixed_bfloat16")
    settings = changed(SETTINGS, steps=60, jit_compile=True, precision="mixed_bfloat16")
    model = gpt2.language_model(backbone, isolate_documents=True)
    curve = loop.fit(model, LanguageModelling(), data, settings)
    assert curve.validation[-1].loss < 0.5 < curve.points[0].loss
    # The documents begin without <|endoftext|>, so the backbone is tested on a window of a single document.
    inputs = {"token_ids": np.array([[3, 4, 5]]), "padding_mask": np.ones((1, 3))}
    assert np.argmax(gpt2.language_model(backbone)(inputs).numpy(), axis=-1).tolist() == [[4, 5, 6]]


def validation_loss(model: keras.Model, data: TrainingData) -> float:
    trainer = loop.build_trainer(model, LanguageModelling(), SETTINGS, 1)
    batch = packing.to_batch({"token_ids": tf.constant(data.validation.columns["token_ids"])})
    return trainer.evaluate(batch, batch_size=10, verbose=0, return_dict=True)["nll"]


def test_a_run_stops_early_and_ends_with_the_best_weights() -> None:
    settings = changed(SETTINGS, steps=60, evaluate_every=2, early_stopping=3, restore_best=True)
    data = backwards()
    model, curve = train(settings, data=data)
    losses = [point.loss for point in curve.validation]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 30
    assert curve.points[-1].step == 2 * len(losses)
    assert validation_loss(model, data) == pytest.approx(losses[best], rel=1e-5)


def test_a_run_without_restoring_ends_with_the_last_weights() -> None:
    data = backwards()
    model, curve = train(changed(SETTINGS, steps=20, evaluate_every=5), data=data)
    losses = [point.loss for point in curve.validation]
    assert validation_loss(model, data) == pytest.approx(losses[-1], rel=1e-5)
    assert losses[-1] > min(losses)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowsAtOnce(LanguageModelling):
    """An objective that records the number of rows in each call of the model, in steps and in evaluations."""

    seen: list[int]

    def __call__(self, model: Model, batch: Batch) -> Sums:
        tf.numpy_function(lambda rows: self.seen.append(len(rows)), [batch["token_ids"]], [])
        return super().__call__(model, batch)


def test_an_evaluation_uses_batches_of_the_size_of_a_micro_batch() -> None:
    curves, rows = {}, {}
    for micro_batches in (1, 4):
        rows[micro_batches] = []
        settings = changed(SETTINGS, steps=1, batch_size=8, micro_batches=micro_batches)
        objective = RowsAtOnce(seen=rows[micro_batches])
        curves[micro_batches] = loop.fit(tiny_model(), objective, counting_data(validation=9), settings)
    # A step on 8 windows, then an evaluation on 9.
    assert rows == {1: [8, 8, 1], 4: [2, 2, 2, 2, 2, 2, 2, 2, 1]}
    whole, parts = (curves[micro_batches].validation[0].loss for micro_batches in (1, 4))
    assert parts == pytest.approx(whole, rel=1e-6)


def test_a_nan_loss_is_an_error_that_names_the_step() -> None:
    class Poison(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            if logs["step"] == 2:
                weight = self.model.language_model.trainable_variables[0]
                weight.assign(weight * math.nan)

    with pytest.raises(FloatingPointError, match=r"loss became nan at step 3 of 30; lower `training.learning_rate`"):
        train(SETTINGS, callbacks=[Poison()])


def test_infinite_gradients_are_an_error_once_the_scale_cannot_fall() -> None:
    logs = {"step": 4, "loss": 2.0, "gradient_norm": math.inf}
    check_numbers({**logs, "loss_scale": 2.0}, steps=9)
    with pytest.raises(FloatingPointError, match="the gradients' norm became inf at step 4 of 9"):
        check_numbers({**logs, "loss_scale": 1.0}, steps=9)


def test_progress_events_have_steps_perplexity_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("modules.common.progress.report", lambda node, **event: seen.append((node, event)))
    _, curve = train(changed(SETTINGS, steps=3, label_smoothing=0.5))
    node, last = seen[-1]
    assert node == "Trainer"
    assert (last["done"], last["total"], last["unit"], last["left"]) == (3, 3, "steps", "0:00")
    assert last["perplexity"] == pytest.approx(math.exp(curve.points[-1].loss), rel=1e-3)
    assert last["tokens_per_second"] > 0


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (66, "1:06"), (3599, "59:59"), (45296, "12:34:56")])
def test_the_time_left_is_shown_as_minutes_and_seconds(seconds: float, shown: str) -> None:
    assert hours_minutes_seconds(seconds) == shown


def test_each_combination_of_weights_data_and_settings_has_its_own_checkpoint() -> None:
    data = counting_data()

    def path(*, seed: int = 0, data: TrainingData = data, dropout: float = 0.0, **changes: object) -> Path:
        model, facts = tiny_model(seed=seed), {"dropout": dropout}
        file = loop.checkpoint_file("folder", model, data, changed(SETTINGS, **changes), facts=facts)
        assert file is not None
        return file.path

    paths = {
        path(), path(seed=1), path(data=counting_data(train=41)), path(data=counting_data(validation=9)),
        path(dropout=0.1), path(learning_rate=0.02), path(label_smoothing=0.1),
    }  # fmt: skip
    assert len(paths) == 7
    assert path() in paths
