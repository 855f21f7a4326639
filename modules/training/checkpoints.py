"""A training that can be ended at any moment and gone on with: what of it is saved, and when."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from modules.common.errors import InputError
from modules.training.checkpoint_file import CheckpointFile, State
from modules.training.devices import gather_from_workers, is_chief
from modules.training.language_model_trainer import LanguageModelTrainer


class TrainingInterrupted(Exception):
    """The training was asked to end before it was done, and its state was saved."""


class Resumable(Protocol):
    """A part of a training that remembers something."""

    def state(self) -> State:
        """What it remembers."""

    def check(self, state: State) -> None:
        """Raises ValueError if it cannot go on from that, e.g. because other code wrote it."""

    def restore(self, state: State) -> None:
        """Makes it remember that, which is checked."""


class ModelState:
    """What of a trainer changes: trained weights, seeds of the dropout, optimizer, step, which is the data's place too.

    Frozen weights are not in it: the checkpoint's name tells which they are.
    """

    def __init__(self, model: LanguageModelTrainer):
        """Takes a compiled model whose optimizer is built."""
        frozen = {id(weight) for weight in model.language_model.non_trainable_weights}
        changing = [variable for variable in model.language_model.variables if id(variable) not in frozen]
        variables = [*changing, *model.optimizer.variables, model.step]
        # Names alone are not unique, and paths hold numbers by which Keras counts what a process has made.
        self._variables = {f"{number} {variable.name}": variable for number, variable in enumerate(variables)}

    def state(self) -> State:
        """The values."""
        return State(arrays={name: variable.numpy() for name, variable in self._variables.items()}, facts={})

    def check(self, state: State) -> None:
        """Raises ValueError if they are those of another model."""
        shapes = {name: tuple(variable.shape) for name, variable in self._variables.items()}
        if shapes != {name: array.shape for name, array in state.arrays.items()}:
            raise ValueError("it holds other variables than the model has")

    def restore(self, state: State) -> None:
        """Assigns the values."""
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
            parts: What, each under a name of its own without a slash.
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
        self._signal = 0  # that this worker got; 0: none

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
        states = {name: State(arrays=arrays[name], facts=saved.facts[name]) for name in self._parts}
        try:
            for name, part in self._parts.items():
                part.check(states[name])
        except ValueError as error:
            logging.warning("The checkpoint %s does not fit (%s): training begins anew.", self._file.path, error)
            return
        for name, part in self._parts.items():
            part.restore(states[name])

    def finish(self) -> None:
        """Saves the end of the training.

        Raises:
            TrainingInterrupted: If the training was asked to end.
        """
        self._save(self._agreed_signal())

    def _save(self, ended_by: int) -> None:
        """Saves all parts, and ends the training if a signal, or 0 for none, asks for it."""
        if self._saves:
            self._write()
        if ended_by:
            name, step = signal.Signals(ended_by).name, int(self.model.step.numpy())
            raise TrainingInterrupted(f"{name} ended the training after step {step}; the same command goes on with it.")

    def _write(self) -> None:
        """Writes all parts; a disk that is full is no reason to lose the training itself."""
        states = {name: part.state() for name, part in self._parts.items()}
        arrays = {f"{name}/{key}": array for name, state in states.items() for key, array in state.arrays.items()}
        try:
            self._file.write(State(arrays=arrays, facts={name: state.facts for name, state in states.items()}))
        except OSError as error:
            logging.warning("No checkpoint could be written (%s); the last one stays.", error)
        self._last = time.monotonic()

    def _agreed_signal(self) -> int:
        """What one of the workers got, the same for all of them; 0: none did."""
        return max(gather_from_workers(self._strategy, self._signal))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        ended_by = self._agreed_signal()
        if ended_by or time.monotonic() - self._last >= self._seconds:
            self._save(ended_by)

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
