"""What watches a training from within Keras' `fit`: progress and validation."""

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
    """Reports step, loss, metrics and speed about once a second; stops where loss or gradients are not numbers."""

    def __init__(self, *, tokens_a_step: int, steps: int, metric_names: Sequence[str], reports: bool = True):
        super().__init__()
        self._reports = reports
        self._tokens_a_step = tokens_a_step
        self._steps = steps
        self._metric_names = metric_names

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._last = int(self.model.step.numpy()), time.monotonic()  # of the last report

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        check_numbers(logs, steps=self._steps)
        step, now = int(logs["step"]), time.monotonic()
        last_step, last_time = self._last
        if not self._reports or (now - last_time < 1.0 and step != self._steps):
            return
        self._last = step, now
        steps_per_second = (step - last_step) / (now - last_time)
        facts: dict[str, Any] = {"loss": round(logs["loss"], 2)}
        for name in self._metric_names:
            facts |= {"perplexity": math.exp(min(logs[NLL], 700))} if name == NLL else {name: logs[name]}
        facts["tokens_per_second"] = round(steps_per_second * self._tokens_a_step)
        facts["left"] = hours_minutes_seconds((self._steps - step) / steps_per_second)
        progress.report("Trainer", done=step, total=self._steps, unit="steps", **facts)


def hours_minutes_seconds(seconds: float) -> str:
    """`0:07`, `59:59`, `12:34:56`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def check_numbers(logs: Mapping[str, float], *, steps: int) -> None:
    """Refuses logs of a step from which no training recovers.

    Gradients that overflow in float16 are no such step as long as the loss scale can fall: the optimizer leaves the
    step out and halves the scale.

    Raises:
        FloatingPointError: With the step and the cure.
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
    """Looks at the validation windows every so many steps and after the last; keeps the best weights, stops early."""

    def __init__(
        self,
        batches: tf.data.Dataset,
        curve: LossCurve,
        *,
        batches_a_look: int,
        steps: int,
        every: int,
        patience: int | None,
        keep_best: bool,
    ):
        """Prepares the looks.

        Args:
            batches: Of the objective.
            curve: Gets a point for each look.
            batches_a_look: All of them; distributed ones cannot be counted.
            steps: Of the whole training.
            every: Steps between two looks.
            patience: Looks in a row without a new lowest loss after which the training stops; None: it does not.
            keep_best: Whether to keep the weights of the lowest loss.
        """
        super().__init__()
        self.stopped = False
        self._batches = batches
        self._batches_a_look = batches_a_look
        self._curve = curve
        self._steps = steps
        self._every = every
        self._patience = patience
        self._keep_best = keep_best
        self._best_loss: float | None = None
        self._best_weights: list[np.ndarray] = []
        self._looks_since = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        step = int(logs["step"])
        if step % self._every and step != self._steps:
            return
        figures = self.model.evaluate(self._batches, steps=self._batches_a_look, verbose=0, return_dict=True)
        loss = self._curve.add_validation(step, figures).loss
        if loss is not None and (self._best_loss is None or loss < self._best_loss):
            self._best_loss, self._looks_since = loss, 0
            if self._keep_best:
                self._best_weights = [variable.numpy() for variable in self._weights()]
        else:
            self._looks_since += 1
        if self._patience is not None and self._looks_since >= self._patience:
            self.stopped = self.model.stop_training = True

    def state(self) -> State:
        """What it has seen."""
        arrays = {str(number): weights for number, weights in enumerate(self._best_weights)}
        facts = {"best_loss": self._best_loss, "looks_since": self._looks_since, "stopped": self.stopped}
        return State(arrays=arrays, facts=facts)

    def check(self, state: State) -> None:
        """Raises ValueError if it is of code that remembers something else."""
        if state.facts.keys() != self.state().facts.keys():
            raise ValueError("its facts of the validation are others")

    def restore(self, state: State) -> None:
        """Goes on from `state`."""
        self._best_loss, self._looks_since = state.facts["best_loss"], state.facts["looks_since"]
        self.stopped = state.facts["stopped"]
        self._best_weights = [state.arrays[str(number)] for number in range(len(state.arrays))]

    def restore_best_weights(self) -> None:
        """Gives the model the weights of the lowest loss, if they were kept."""
        for variable, value in zip(self._weights() if self._best_weights else [], self._best_weights, strict=True):
            variable.assign(value)

    def _weights(self) -> list[keras.Variable]:
        return self.model.language_model.trainable_variables
