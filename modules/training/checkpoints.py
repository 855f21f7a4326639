"""Saves a training run so that it can stop after any step and resume."""

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
    """The stop of a training run by a signal, after its state was saved."""


class Resumable(Protocol):
    """A part of a training run whose state is saved and restored."""

    def state(self) -> State:
        """Returns the current state."""

    def check(self, state: State) -> None:
        """Raises ValueError if the state cannot be restored, e.g. because other code wrote it."""

    def restore(self, state: State) -> None:
        """Restores a state that `check` has accepted."""


class ModelState:
    """The changing values of a trainer: trained weights, dropout seeds, optimizer variables and the step.

    The step is also the position in the training data. Frozen weights are not saved: the name of the checkpoint file
    identifies them.
    """

    def __init__(self, model: LanguageModelTrainer):
        """Selects the variables of a compiled model whose optimizer is built."""
        frozen = {id(weight) for weight in model.language_model.non_trainable_weights}
        changing = [variable for variable in model.language_model.variables if id(variable) not in frozen]
        variables = [*changing, *model.optimizer.variables, model.step]
        # The numbers are needed because names are not unique. Paths contain Keras' counters of all objects that the
        # process has created, which differ between runs.
        self._variables = {f"{number} {variable.name}": variable for number, variable in enumerate(variables)}

    def state(self) -> State:
        """Returns the current values of the variables."""
        return State(arrays={name: variable.numpy() for name, variable in self._variables.items()}, facts={})

    def check(self, state: State) -> None:
        """Raises ValueError if the state is that of another model."""
        shapes = {name: tuple(variable.shape) for name, variable in self._variables.items()}
        if shapes != {name: array.shape for name, array in state.arrays.items()}:
            raise ValueError("its variables differ from those of the model")

    def restore(self, state: State) -> None:
        """Assigns the saved values to the variables."""
        for name, variable in self._variables.items():
            variable.assign(state.arrays[name])


class Checkpoints(keras.callbacks.Callback):
    """A callback that saves the whole training run at intervals, and when a signal stops it.

    It should be the last callback: then all callbacks have seen the step that is saved. With several workers, only the
    chief saves and all workers restore its file. A signal to one worker stops all workers after the same step.
    """

    def __init__(
        self,
        file: CheckpointFile,
        parts: Mapping[str, Resumable],
        *,
        seconds: float,
        strategy: tf.distribute.Strategy,
    ):
        """Sets what to save, where and how often; saves nothing yet.

        Args:
            file: Receives the state.
            parts: The parts to save; each has its own name, without a slash.
            seconds: Minimum time between two checkpoints.
            strategy: The devices; with several workers, the strategy shares signals between them.
        """
        super().__init__()
        self._file = file
        self._parts = parts
        self._seconds = seconds
        self._strategy = strategy
        self._saves = is_chief(strategy)
        self._last = time.monotonic()
        self._signal = 0  # the signal that this worker received; 0: none

    def restore(self) -> None:
        """Resumes from the file, if it exists and fits this training run.

        Raises:
            InputError: If the workers have resumed from different steps.
        """
        self._restore_parts()
        steps = gather_from_workers(self._strategy, int(self.model.step.numpy()))
        if len(set(steps)) > 1:
            raise InputError(
                f"all workers must resume from the same checkpoint, {self._file.path}. Received: checkpoints of the "
                f"steps {steps}. Name a folder that all workers share."
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
            logging.warning(
                "The checkpoint %s does not fit (%s): training starts from the beginning.", self._file.path, error
            )
            return
        for name, part in self._parts.items():
            part.restore(states[name])

    def finish(self) -> None:
        """Saves the state after the last step.

        Raises:
            TrainingInterrupted: If a signal has asked the training run to stop.
        """
        self._save(self._agreed_signal())

    def _save(self, ended_by: int) -> None:
        """Saves all parts, then stops the training run if `ended_by` is the number of a signal; 0 means no signal."""
        if self._saves:
            self._write()
        if ended_by:
            name, step = signal.Signals(ended_by).name, int(self.model.step.numpy())
            raise TrainingInterrupted(
                f"{name} stopped the training run after step {step}. Run the same command again to resume it."
            )

    def _write(self) -> None:
        """Writes the state of every part of the run. A full disk causes only a warning, and the run continues."""
        states = {name: part.state() for name, part in self._parts.items()}
        arrays = {f"{name}/{key}": array for name, state in states.items() for key, array in state.arrays.items()}
        try:
            self._file.write(State(arrays=arrays, facts={name: state.facts for name, state in states.items()}))
        except OSError as error:
            logging.warning("The checkpoint could not be written (%s); the previous checkpoint is kept.", error)
        self._last = time.monotonic()

    def _agreed_signal(self) -> int:
        """Returns a signal that a worker has received, the same on all workers; 0 if no worker has received any."""
        return max(gather_from_workers(self._strategy, self._signal))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        ended_by = self._agreed_signal()
        if ended_by or time.monotonic() - self._last >= self._seconds:
            self._save(ended_by)

    @contextlib.contextmanager
    def ending_on_signals(self) -> Iterator[None]:
        """Makes SIGTERM and Ctrl-C stop the training run after the current step.

        Only the main thread can handle signals; in other threads this does nothing.
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
            raise KeyboardInterrupt  # a second Ctrl-C does not wait for the step
        self._signal = number
