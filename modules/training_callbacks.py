"""What watches a training from within Keras' `fit`: progress, validation, and a state to go on from."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from modules import progress
from modules.checkpoints import CheckpointFile, State
from modules.devices import gather_from_workers, is_chief
from modules.errors import InputError
from modules.language_model_trainer import LanguageModelTrainer
from modules.loss_curve import NLL, LossCurve


class TrainingInterrupted(Exception):
    """The training was asked to end before it was done, and its state was saved."""


class TrainingWatch(keras.callbacks.Callback):
    """Reports step, loss, metrics and speed about once a second; stops where loss or gradients are not numbers."""

    def __init__(self, *, tokens_a_step: int, steps: int, metric_names: Sequence[str], reports: bool = True):
        super().__init__()
        self._reports = reports
        self._tokens_a_step = tokens_a_step
        self._steps = steps
        self._metric_names = metric_names
        self._last: tuple[int, float] | None = None  # step and time of the last report

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        step = int(logs["step"])
        check_numbers(logs, steps=self._steps)
        if not self._reports:
            return
        last_step, last_time = self._last or (step - 1, self._started)
        now = time.monotonic()
        if now - last_time < 1.0 and step != self._steps:
            self._last = last_step, last_time
            return
        steps_per_second = (step - last_step) / (now - last_time)
        minutes, seconds = divmod(round((self._steps - step) / steps_per_second), 60)
        facts: dict[str, Any] = {"loss": round(logs["loss"], 2)}
        for name in self._metric_names:
            name, value = ("perplexity", math.exp(min(logs[NLL], 700))) if name == NLL else (name, logs[name])
            facts[name] = float(f"{value:.4g}")
        facts["tokens_per_second"] = round(steps_per_second * self._tokens_a_step)
        facts["left"] = f"{minutes}:{seconds:02d}"
        progress.report("Trainer", done=step, total=self._steps, unit="steps", **facts)
        self._last = step, now


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


class Resumable(Protocol):
    """A part of a training that remembers something."""

    def state(self) -> State:
        """What it remembers."""

    def restore(self, state: State) -> None:
        """Makes it remember that."""


class ModelState:
    """A trainer's variables: weights, seeds of the dropout, optimizer, step. The step is the data's position, too."""

    def __init__(self, model: LanguageModelTrainer):
        """Takes a compiled model whose optimizer is built."""
        variables = [*model.language_model.variables, *model.optimizer.variables, model.step]
        # Paths alone are not unique where layers share a name.
        self._variables = {f"{number} {variable.path}": variable for number, variable in enumerate(variables)}

    def state(self) -> State:
        """The values."""
        return State(arrays={name: variable.numpy() for name, variable in self._variables.items()}, facts={})

    def restore(self, state: State) -> None:
        """Assigns the values.

        Raises:
            ValueError: If they are those of another model.
        """
        shapes = {name: tuple(variable.shape) for name, variable in self._variables.items()}
        if shapes != {name: array.shape for name, array in state.arrays.items()}:
            raise ValueError("it holds other variables than the model has")
        for name, variable in self._variables.items():
            variable.assign(state.arrays[name])


class Checkpoints(keras.callbacks.Callback):
    """Saves the whole training from time to time, and when it is asked to end.

    Should be the last callback, so that the others have seen the step that is saved. Of several workers the chief
    saves, all restore what it saved, and when one is asked to end, all end after the same step.
    """

    def __init__(
        self,
        file: CheckpointFile,
        parts: Mapping[str, Resumable],
        *,
        seconds: float,
        strategy: tf.distribute.Strategy,
    ):
        """Saves nothing yet.

        Args:
            file: Where to.
            parts: What, each under a name of its own without a slash; first the one that can refuse to be restored.
            seconds: At least so long between two checkpoints.
            strategy: By which the workers agree.
        """
        super().__init__()
        self._file = file
        self._parts = parts
        self._seconds = seconds
        self._strategy = strategy
        self._saves = is_chief(strategy)
        self._last = time.monotonic()
        self._signal: int | None = None  # this worker got it
        self._agreed_signal: int | None = None  # all workers know that one of them got it

    def restore(self) -> None:
        """Goes on from the file, if there is one that fits.

        Raises:
            InputError: If several workers did not find the same.
        """
        self._restore_parts()
        steps = gather_from_workers(self._strategy, int(self.model.step.numpy()))
        if len(set(steps)) > 1:
            raise InputError(
                f"the workers must all go on from the same checkpoint, {self._file.path}. Received: the steps {steps}. "
                "Name a folder that all of them share."
            )

    def _restore_parts(self) -> None:
        saved = self._file.read()
        if saved is None:
            return
        arrays: dict[str, dict[str, np.ndarray]] = {name: {} for name in self._parts}
        for key, array in saved.arrays.items():
            name, _, rest = key.partition("/")
            arrays[name][rest] = array
        try:
            for name, part in self._parts.items():
                part.restore(State(arrays=arrays[name], facts=saved.facts[name]))
        except ValueError as error:
            logging.warning("The checkpoint %s does not fit (%s): training begins anew.", self._file.path, error)

    def finish(self) -> None:
        """Saves the end of the training.

        Raises:
            TrainingInterrupted: If the training was asked to end.
        """
        self._agree()
        self._save()

    def _save(self) -> None:
        """Saves all parts; a disk that is full is no reason to lose the training itself."""
        if self._saves:
            self._write()
        if self._agreed_signal is not None:
            name, step = signal.Signals(self._agreed_signal).name, int(self.model.step.numpy())
            raise TrainingInterrupted(f"{name} ended the training after step {step}; the same command goes on with it.")

    def _write(self) -> None:
        states = {name: part.state() for name, part in self._parts.items()}
        arrays = {f"{name}/{key}": array for name, state in states.items() for key, array in state.arrays.items()}
        try:
            self._file.write(State(arrays=arrays, facts={name: state.facts for name, state in states.items()}))
        except OSError as error:
            logging.warning("No checkpoint could be written (%s); the last one stays.", error)
        self._last = time.monotonic()

    def _agree(self) -> None:
        self._agreed_signal = max(gather_from_workers(self._strategy, self._signal or 0)) or None

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        self._agree()
        if self._agreed_signal is not None or time.monotonic() - self._last >= self._seconds:
            self._save()

    @contextlib.contextmanager
    def ending_on_signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C end the training after the step they come in.

        Signals reach the main thread alone; elsewhere nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: object) -> None:
        if number == self._signal == signal.SIGINT:
            raise KeyboardInterrupt  # the step takes too long for who asks twice
        self._signal = number
