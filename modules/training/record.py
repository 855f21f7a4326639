"""The record of a training run, `training.json`: loss, speed, and samples of the model's text.

This module does not import TensorFlow, because the report and the command line read the record.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Self

import pydantic

from modules.common.json_files import finite, reading, write_json

TRAINING_FILE = "training.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossPoint:
    """The mean of some consecutive training steps.

    Attributes:
        step: The last of these steps; the first step of a training run is 1.
        loss: Mean loss of the steps' batches in nats per target that counts. It is always the loss of the text's own
            tokens, without label smoothing and without a teacher. Objectives without such a figure report the
            loss that they minimise. None if it is not a finite number.
        metrics: Means of the objective's other metrics.
        learning_rate: At the last step.
        gradient_norm: At the last step, before clipping; None if it is not a finite number.
        tokens_per_second: Speed of the steps, without validation and logs. The first steps include compilation.
        memory_mb: Largest memory of the process so far, in 10⁶ bytes; on a GPU the GPU's memory.
    """

    step: int
    loss: float | None
    metrics: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    learning_rate: float
    gradient_norm: float | None
    tokens_per_second: float
    memory_mb: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationPoint:
    """Loss and metrics on the validation rows after a step, as in `LossPoint`; None where they are not finite."""

    step: int
    loss: float | None
    metrics: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """A prompt and the model's continuations before (None if there is none) and after the training run.

    `left_out` is the number of tokens that the prompt lost, because it exceeded the context.
    """

    prompt: str
    before: str | None
    after: str
    left_out: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceUse:
    """One of several weighted sources in a training run; rows are windows, or pairs of answers.

    Attributes:
        name: Name of the source.
        share: The wanted share of the training tokens, 0 to 1.
        rows: Number of rows of the source.
        tokens: Number of tokens in these rows.
        drawn_rows: Number of rows that the training run read; a row that was read twice counts twice.
    """

    name: str
    share: float
    rows: int
    tokens: int
    drawn_rows: int = 0

    @property
    def times_read(self) -> float:
        """The number of times that each row was read, on average."""
        return self.drawn_rows / self.rows

    @property
    def drawn_tokens(self) -> int:
        """Number of tokens that the training run read."""
        return round(self.tokens * self.times_read)

    @property
    def unread_tokens(self) -> int:
        """Number of tokens that the training run did not read."""
        return max(0, self.tokens - self.drawn_tokens)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """The content of `training.json`.

    Attributes:
        parameters: Number of the model's parameters. The embedding counts once, because it is also the head.
        loss: The training loss over time, at most `loss_curve.LOSS_POINTS` points.
        validation: The validation loss over time.
        loss_unit: Unit of all losses, see `loss_curve.LossCurve.loss_unit`; None if they have none.
        warm_start: Whether the run started from the latest blessed model.
        perplexity_before: Perplexity on the whole eval split of the trained model or preset that the run started from.
            None for a random start, and if it is not a finite number.
        samples: Text that the model writes.
        unused_tokens, split_rows: See `stored_rows.TrainingData`.
        sources: The weighted sources; empty without weights.
        warnings: Settings and data with which the run is of little use, one line each; see `run_warnings`.
    """

    parameters: int
    loss: list[LossPoint] = dataclasses.field(default_factory=list)
    validation: list[ValidationPoint] = dataclasses.field(default_factory=list)
    loss_unit: str | None = None
    warm_start: bool = False
    perplexity_before: float | None = None
    samples: list[Sample] = dataclasses.field(default_factory=list)
    unused_tokens: int | None = None
    split_rows: int | None = None
    sources: list[SourceUse] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Writes `training.json` into a folder, which is created if it is missing. NaN and infinity become null."""
        write_json(folder, TRAINING_FILE, self)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Self:
        """Reads `training.json` from a folder; keys of other versions are ignored.

        Raises:
            OSError: The folder has no such file.
            InputError: The file lacks a value or has one of another type.
        """
        with reading(folder, TRAINING_FILE) as content:
            return pydantic.TypeAdapter(cls).validate_python(finite(content))
