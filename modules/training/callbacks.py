"""Keras callbacks of a training run: progress reports and validation."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modules.common import progress
from modules.training.checkpoint_file import State
from modules.training.loss_curve import NLL, LossCurve


class TrainingWatch(keras.callbacks.Callback):
    """A callback that reports step, loss, metrics and speed about once per second, and refuses non-finite numbers."""

    def __init__(self, *, tokens_per_step: int, steps: int, metric_names: Sequence[str], reports: bool = True):
        super().__init__()
        self._reports = reports
        self._tokens_per_step = tokens_per_step
        self._steps = steps
        self._metric_names = metric_names

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._last_report = int(self.model.step.numpy()), time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        check_numbers(logs, steps=self._steps)
        step, now = int(logs["step"]), time.monotonic()
        last_step, last_time = self._last_report
        if not self._reports or (now - last_time < 1.0 and step != self._steps):
            return
        self._last_report = step, now
        steps_per_second = (step - last_step) / (now - last_time)
        facts: dict[str, Any] = {"loss": round(logs["loss"], 2)}
        for name in self._metric_names:
            facts |= {"perplexity": math.exp(min(logs[NLL], 700))} if name == NLL else {name: logs[name]}
        facts["tokens_per_second"] = round(steps_per_second * self._tokens_per_step)
        facts["left"] = hours_minutes_seconds((self._steps - step) / steps_per_second)
        progress.report("Trainer", done=step, total=self._steps, unit="steps", **facts)


def hours_minutes_seconds(seconds: float) -> str:
    """Formats a duration: `0:07`, `59:59`, `12:34:56`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def check_numbers(logs: Mapping[str, float], *, steps: int) -> None:
    """Refuses the logs of a step whose loss or gradients are not finite: training does not recover from such a step.

    Gradients that overflow in float16 are accepted while the loss scale can still fall: the optimizer skips the step
    and halves the scale.

    Raises:
        FloatingPointError: If a number is not finite; the message names the step and the cure.
    """
    step, loss, norm = int(logs["step"]), logs["loss"], logs["gradient_norm"]
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss became {loss} at step {step} of {steps}; lower `training.learning_rate`, or train in float32."
        )
    if not math.isfinite(norm) and logs["loss_scale"] <= 1:
        raise FloatingPointError(
            f"the gradients' norm became {norm} at step {step} of {steps}; lower `training.learning_rate`, or train "
            "in float32."
        )


class Validation(keras.callbacks.Callback):
    """A callback that evaluates the model on the validation rows, keeps the best weights and stops early.

    It evaluates at a fixed interval of steps, and after the last step.
    """

    def __init__(
        self,
        batches: tf.data.Dataset,
        curve: LossCurve,
        *,
        validation_batches: int,
        steps: int,
        every: int,
        patience: int | None,
        keep_best: bool,
    ):
        """Sets when to evaluate and what to do with the results.

        Args:
            batches: Validation batches of the objective.
            curve: Receives a point for each evaluation.
            validation_batches: Batches per evaluation, which are all `batches`; distributed batches cannot be counted.
            steps: Optimizer steps of the whole training run.
            every: Steps between two evaluations.
            patience: Evaluations in a row without a new lowest loss after which training stops; None: it never stops
                early.
            keep_best: Whether to keep the weights with the lowest loss.
        """
        super().__init__()
        self.stopped = False
        self._batches = batches
        self._batches_per_evaluation = validation_batches
        self._curve = curve
        self._steps = steps
        self._every = every
        self._patience = patience
        self._keep_best = keep_best
        self._best_loss: float | None = None
        self._best_weights: list[np.ndarray] = []
        self._evaluations_since_best = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        step = int(logs["step"])
        if step % self._every and step != self._steps:
            return
        figures = self.model.evaluate(self._batches, steps=self._batches_per_evaluation, verbose=0, return_dict=True)
        loss = self._curve.add_validation(step, figures).loss
        if loss is not None and (self._best_loss is None or loss < self._best_loss):
            self._best_loss, self._evaluations_since_best = loss, 0
            if self._keep_best:
                self._best_weights = [variable.numpy() for variable in self._weights()]
        else:
            self._evaluations_since_best += 1
        if self._patience is not None and self._evaluations_since_best >= self._patience:
            self.stopped = self.model.stop_training = True

    def state(self) -> State:
        """Returns the lowest loss and its weights, and the number of evaluations since then."""
        arrays = {str(number): weights for number, weights in enumerate(self._best_weights)}
        facts = {"best_loss": self._best_loss, "looks_since": self._evaluations_since_best, "stopped": self.stopped}
        return State(arrays=arrays, facts=facts)

    def check(self, state: State) -> None:
        """Raises ValueError if the state has other fields, because other code wrote it."""
        if state.facts.keys() != self.state().facts.keys():
            raise ValueError("its validation results have other fields")

    def restore(self, state: State) -> None:
        """Continues from a saved state."""
        self._best_loss, self._evaluations_since_best = state.facts["best_loss"], state.facts["looks_since"]
        self.stopped = state.facts["stopped"]
        self._best_weights = [state.arrays[str(number)] for number in range(len(state.arrays))]

    def restore_best_weights(self) -> None:
        """Assigns the weights with the lowest loss to the model, if they were kept."""
        for variable, value in zip(self._weights() if self._best_weights else [], self._best_weights, strict=True):
            variable.assign(value)

    def _weights(self) -> list[keras.Variable]:
        return self.model.language_model.trainable_variables
