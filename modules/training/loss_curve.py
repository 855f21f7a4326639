"""The losses of a training run, as points and as TensorBoard's scalars."""

import dataclasses
import math
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from modules.common.json_files import finite
from modules.training.checkpoint_file import State
from modules.training.record import LossPoint, ValidationPoint

LOSS_POINTS = 200
# If an objective has this metric, it is reported as the loss, and as perplexity.
NLL = "nll"


class LossCurve(keras.callbacks.Callback):
    """The losses of a training run, as means over a few steps. A long run has as many points as a short one.

    The points are also written as TensorBoard's scalars. A run that resumes from a checkpoint writes all points again,
    because its folder may be a new one.
    """

    def __init__(
        self, *, steps: int, tokens_per_step: int, metric_names: Sequence[str] = (NLL,), log_dir: str | None = None
    ):
        """Starts a curve.

        Args:
            steps: Number of steps of the whole training run.
            tokens_per_step: Number of targets in a batch.
            metric_names: Names of the objective's metrics.
            log_dir: Folder for TensorBoard's files; None: no such files.
        """
        super().__init__()
        self.points: list[LossPoint] = []
        self.validation: list[ValidationPoint] = []
        self._steps = steps
        self._steps_per_point = math.ceil(steps / LOSS_POINTS)
        self._tokens_per_step = tokens_per_step
        self._metric_names = tuple(metric_names)
        self._figures: list[dict[str, float]] = []  # of the steps since the last point
        self._seconds = 0.0
        self._writers = {name: _writer(log_dir, name) for name in ("train", "validation")} if log_dir else {}

    def state(self) -> State:
        """Returns the curve up to now, for a checkpoint."""
        facts = {
            "points": [dataclasses.asdict(point) for point in self.points],
            "validation": [dataclasses.asdict(point) for point in self.validation],
            "figures": self._figures,
            "seconds": self._seconds,
        }
        return State(arrays={}, facts=facts)

    def check(self, state: State) -> None:
        """Raises ValueError if the points of a checkpoint have other fields than those of this code."""
        for name, kind in (("points", LossPoint), ("validation", ValidationPoint)):
            fields = {field.name for field in dataclasses.fields(kind)}
            if any(point.keys() != fields for point in state.facts[name]):
                raise ValueError(f"the {name} of its loss curve have other fields")

    def restore(self, state: State) -> None:
        """Restores the curve from a checkpoint."""
        for point in state.facts["points"]:
            self._add_point(LossPoint(**point))
        for point in state.facts["validation"]:
            self._add_validation(ValidationPoint(**point))
        self._figures = list(state.facts["figures"])
        self._seconds = state.facts["seconds"]

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        self._figures.append(reported_figures(logs, self._metric_names))
        self._seconds += time.monotonic() - self._started
        self._last_logs = logs
        step = int(logs["step"])
        if step % self._steps_per_point == 0 or step == self._steps:
            self._finish_point()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Adds a last point from the remaining steps if training stopped early."""
        if self._figures:
            self._finish_point()

    def _finish_point(self) -> None:
        means = {
            name: sum(figures[name] for figures in self._figures) / len(self._figures) for name in self._figures[0]
        }
        point = LossPoint(
            step=int(self._last_logs["step"]),
            loss=means.pop("loss"),
            metrics=means,
            learning_rate=float(self._last_logs["learning_rate"]),
            gradient_norm=finite(float(self._last_logs["gradient_norm"])),
            tokens_per_second=round(len(self._figures) * self._tokens_per_step / self._seconds, 1),
            memory_mb=round(memory_mb(), 1),
        )
        self._figures, self._seconds = [], 0.0
        self._add_point(point)

    @property
    def loss_unit(self) -> str | None:
        """The unit of the losses; None if the objective is not the likelihood of single tokens."""
        return "nats per token" if NLL in self._metric_names else None

    def add_validation(self, step: int, logs: Mapping[str, float]) -> ValidationPoint:
        """Adds the result of an evaluation on the validation rows, and returns it.

        Args:
            step: The last step before the evaluation.
            logs: Mean `loss`, and means of the objective's metrics.
        """
        figures = reported_figures(logs, self._metric_names)
        point = ValidationPoint(step=step, loss=finite(figures.pop("loss")), metrics=finite(figures))
        self._add_validation(point)
        return point

    def _add_validation(self, point: ValidationPoint) -> None:
        self.validation.append(point)
        self._write("validation", point)

    def _add_point(self, point: LossPoint) -> None:
        self.points.append(point)
        self._write("train", point)

    def _write(self, name: str, point: LossPoint | ValidationPoint) -> None:
        if not self._writers:
            return
        values = dataclasses.asdict(point)
        step, metrics = values.pop("step"), values.pop("metrics")
        values = {key: value for key, value in {**values, **metrics}.items() if value is not None}
        with self._writers[name].as_default():
            for key, value in values.items():
                tf.summary.scalar(key, value, step=step)
        self._writers[name].flush()


def reported_figures(logs: Mapping[str, float], metric_names: Sequence[str]) -> dict[str, float]:
    """Returns the figures to report: `loss`, which is the metric `nll` if there is one, and the other metrics."""
    metrics = {name: float(logs[name]) for name in metric_names if name != NLL}
    return {"loss": float(logs[NLL if NLL in metric_names else "loss"]), **metrics}


def memory_mb() -> float:
    """Returns the largest memory of the process so far, in 10⁶ bytes: of the first GPU, or without a GPU of RAM."""
    if tf.config.list_logical_devices("GPU"):
        return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _writer(log_dir: str, name: str) -> Any:
    return tf.summary.create_file_writer(os.path.join(log_dir, name))
