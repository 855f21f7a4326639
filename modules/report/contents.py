"""The content of a run's report: `gathering` reads it from artifacts, `rendering` turns it into a page and a card."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from modules.evaluation.gates import Check, Verdict
from modules.evaluation.results import Evaluation
from modules.evaluation.task_figures import TaskFigure
from modules.evaluation.tflite_results import FileResult
from modules.training.record import TrainingRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """What was kept; `tokens` is None where they were not counted."""

    name: str
    documents: int
    size_bytes: int
    tokens: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DocumentSample:
    """The beginning of a training document."""

    source: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Where the text came from and what became of it.

    Attributes:
        source: As the configuration names it, without the machine's folders.
        kind: `text` or `instruction`.
        prompt_template: How instructions became prompts; None for text.
        input_fingerprint: Hash of everything that was read.
        splits: What was kept.
        dropped: Documents that were not, by reason; reasons that dropped none are left out.
        secrets: Passages that look like secrets or addresses, by kind.
        samples: A few documents of the train split.
    """

    source: str
    kind: str
    prompt_template: str | None
    input_fingerprint: str
    splits: tuple[Split, ...]
    dropped: Mapping[str, int]
    secrets: Mapping[str, int]
    samples: tuple[DocumentSample, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A GPT-2's sizes; `start` tells what the training began with: `the preset gpt2_base_en`, `a random start`."""

    start: str
    parameters: int
    num_layers: int
    num_heads: int
    hidden_dim: int
    vocabulary_size: int
    context_length: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShippedFile:
    """An artifact that the release may hold; what was not measured is None.

    Attributes:
        name: `SavedModel`, or the precision of a TFLite file.
        size_bytes: All its files together.
        sha256: Of a single file.
        measured: What the TFLite gate found.
        perplexity: On the eval split.
        decode_tokens_per_second: On the machine of the run.
        released: Whether it may ship.
    """

    name: str
    size_bytes: int
    sha256: str | None
    measured: FileResult | None
    perplexity: float | None
    decode_tokens_per_second: float | None
    released: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineageItem:
    """An artifact in ML Metadata that the report was made from."""

    name: str
    type: str
    id: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All that is told of a run.

    Attributes:
        pipeline: The pipeline's name.
        run: The run's id.
        verdict: What the gates decided.
        checks: Of the model and of its files.
        data: What it was trained on.
        model: What was trained.
        training: How that went.
        evaluation: What was measured on the eval split.
        tasks: What else it was asked.
        files: The SavedModel first.
        environment: Versions, processors and the lock's hash, by name.
        lineage: Ids in ML Metadata.
        configuration: The run's settings, without the machine's folders.
    """

    pipeline: str
    run: str
    verdict: Verdict
    checks: tuple[Check, ...]
    data: Data
    model: Model
    training: TrainingRecord
    evaluation: Evaluation
    tasks: tuple[TaskFigure, ...]
    files: tuple[ShippedFile, ...]
    environment: Mapping[str, str]
    lineage: tuple[LineageItem, ...]
    configuration: Mapping[str, Any]
