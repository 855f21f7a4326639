import itertools
import json
from pathlib import Path

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from modules.training import loss_curve
from modules.training.checkpoint_file import CheckpointFile
from modules.training.loss_curve import LossCurve, reported_figures
from modules.training.record import ValidationPoint


def follow(curve: LossCurve, losses: list[float], *, first: int = 1) -> None:
    """Calls the curve like Keras."""
    for step, loss in enumerate(losses, start=first):
        curve.on_train_batch_begin(step)
        logs = {"step": step, "loss": loss + 7, "nll": loss, "learning_rate": step / 10, "gradient_norm": float("inf")}
        curve.on_train_batch_end(step, logs)


@pytest.fixture(autouse=True)
def two_seconds_per_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=2)
    monkeypatch.setattr(loss_curve.time, "monotonic", lambda: next(clock))


def test_a_point_is_the_mean_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_curve, "LOSS_POINTS", 3)
    curve = LossCurve(steps=8, tokens_per_step=10)
    follow(curve, [9, 7, 5,   6, 4, 2,   3, 1])  # fmt: skip
    assert [(point.step, point.loss) for point in curve.points] == [(3, 7.0), (6, 4.0), (8, 2.0)]
    assert [point.tokens_per_second for point in curve.points] == [5.0, 5.0, 5.0]
    assert [point.learning_rate for point in curve.points] == [0.3, 0.6, 0.8]
    assert [point.gradient_norm for point in curve.points] == [None] * 3
    assert curve.points[0].memory_mb > 100


@pytest.mark.parametrize(("steps", "points"), [(1, 1), (200, 200), (201, 101), (3200, 200), (4001, 191)])
def test_a_long_run_has_at_most_200_points(steps: int, points: int) -> None:
    curve = LossCurve(steps=steps, tokens_per_step=10)
    follow(curve, [1.0] * steps)
    assert len(curve.points) == points
    assert curve.points[-1].step == steps


def test_a_curve_resumes_from_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_curve, "LOSS_POINTS", 3)
    whole, begun, resumed = (LossCurve(steps=8, tokens_per_step=10) for _ in range(3))
    follow(whole, [9, 7, 5, 6, 4, 2, 3, 1])
    follow(begun, [9, 7, 5, 6])
    begun.add_validation(4, {"loss": 9.0, "nll": 3.5})
    state = begun.state()
    resumed.restore(type(state)(arrays={}, facts=json.loads(json.dumps(state.facts))))
    follow(resumed, [4, 2, 3, 1], first=5)
    assert [point.loss for point in resumed.points] == [point.loss for point in whole.points]
    assert resumed.validation == [ValidationPoint(step=4, loss=3.5)]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto).item()) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def test_tensorboard_shows_all_points_after_an_interruption(tmp_path: Path) -> None:
    begun = LossCurve(steps=4, tokens_per_step=10)
    follow(begun, [9, 7])
    begun.add_validation(2, {"loss": 9.0, "nll": float("nan")})
    resumed = LossCurve(steps=4, tokens_per_step=10, log_dir=str(tmp_path))
    resumed.restore(begun.state())
    follow(resumed, [5, 3], first=3)
    resumed.add_validation(4, {"loss": 9.0, "nll": 2.5})
    shown = scalars(tmp_path / "train")
    assert shown["loss"] == [(1, 9), (2, 7), (3, 5), (4, 3)]
    assert shown["tokens_per_second"] == [(1, 5), (2, 5), (3, 5), (4, 5)]
    assert set(shown) == {"loss", "learning_rate", "tokens_per_second", "memory_mb"}  # the norm is not finite
    assert scalars(tmp_path / "validation") == {"loss": [(4, 2.5)]}


def test_an_objective_without_nll_has_a_loss_and_metrics_without_a_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_curve, "LOSS_POINTS", 1)
    curve = LossCurve(steps=2, tokens_per_step=10, metric_names=("reward_margin",), log_dir=str(tmp_path))
    for step, loss, margin in ((1, 0.75, 0.0), (2, 0.25, 1.0)):
        curve.on_train_batch_begin(step)
        logs = {"step": step, "loss": loss, "reward_margin": margin, "learning_rate": 0.1, "gradient_norm": 1.0}
        curve.on_train_batch_end(step, logs)
    point = curve.add_validation(2, {"loss": 0.5, "reward_margin": 0.5})
    assert point == ValidationPoint(step=2, loss=0.5, metrics={"reward_margin": 0.5})
    assert (curve.points[0].loss, curve.points[0].metrics, curve.loss_unit) == (0.5, {"reward_margin": 0.5}, None)
    assert scalars(tmp_path / "train")["reward_margin"] == [(2, 0.5)]
    assert scalars(tmp_path / "validation") == {"loss": [(2, 0.5)], "reward_margin": [(2, 0.5)]}


def test_nll_is_reported_as_the_loss() -> None:
    assert reported_figures({"loss": 2, "nll": 1, "step": 7}, ["nll"]) == {"loss": 1.0}
    assert reported_figures({"loss": 2, "margin": 1, "step": 7}, ["margin"]) == {"loss": 2.0, "margin": 1.0}


def test_a_metric_that_is_not_finite_is_none_and_can_be_saved(tmp_path: Path) -> None:
    curve = LossCurve(steps=8, tokens_per_step=10, metric_names=("reward_margin",))
    point = curve.add_validation(4, {"loss": 0.5, "reward_margin": float("nan")})
    assert point == ValidationPoint(step=4, loss=0.5, metrics={"reward_margin": None})
    file = CheckpointFile(tmp_path / "checkpoint.npz")
    file.write(curve.state())
    saved = file.read()
    assert saved is not None
    assert saved.facts["validation"] == [{"step": 4, "loss": 0.5, "metrics": {"reward_margin": None}}]


def test_a_run_that_stops_early_loses_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_curve, "LOSS_POINTS", 2)
    curve = LossCurve(steps=8, tokens_per_step=10)
    follow(curve, [9, 7, 6, 2,   5, 3])  # fmt: skip
    curve.on_train_end()
    assert [(point.step, point.loss) for point in curve.points] == [(4, 6.0), (6, 4.0)]
    curve.on_train_end()
    assert len(curve.points) == 2
