"""The content of a run's report. `gathering` reads it from artifacts; `rendering` writes it as a page and a card."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from modules.evaluation.gates import Check, Verdict
from modules.evaluation.results import Evaluation
from modules.evaluation.task_figures import TaskFigure
from modules.evaluation.tflite_results import FileResult
from modules.report.sources import SourceFigures
from modules.training.record import TrainingRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """The kept documents of a split; `tokens` is None if the tokens were not counted."""

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
    """The data of a run: source, splits, dropped and changed documents.

    Attributes:
        source: The source in the configuration, without the machine's folders.
        kind: The kind of the data, such as `text` or `instruction`.
        prompt_template: Name of the template that turned instructions into prompts; None for text.
        input_fingerprint: Hash of all input.
        splits: The kept documents by split.
        dropped: Number of dropped documents by reason; reasons without dropped documents are left out.
        changed: Number of changes to kept documents, by what was done; zeros are left out.
        secrets: Number of passages that look like secrets or addresses, by kind.
        samples: A few documents of the train split.
        sources: Several named sources; empty if the run has one without a name.
    """

    source: str
    kind: str
    prompt_template: str | None
    input_fingerprint: str
    splits: tuple[Split, ...]
    dropped: Mapping[str, int]
    changed: Mapping[str, int]
    secrets: Mapping[str, int]
    samples: tuple[DocumentSample, ...]
    sources: tuple[SourceFigures, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """The sizes of a GPT-2. `start` names the weights before training: `the preset gpt2_base_en`, `a random start`."""

    start: str
    parameters: int
    num_layers: int
    num_heads: int
    hidden_dim: int
    vocabulary_size: int
    context_length: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShippedFile:
    """A file or folder that the release may contain. Values that were not measured are None.

    Attributes:
        name: `SavedModel`, or `TFLite` with the precision of the file.
        size_bytes: Size of all its files.
        sha256: Hash of a TFLite file; None for the SavedModel, which is a folder.
        measured: The result of the TFLite gate; None for the SavedModel.
        perplexity: Perplexity on the eval split.
        decode_tokens_per_second: Speed of decoding on the machine of the run.
        released: Whether it may be released.
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
    """An artifact in ML Metadata that the report describes."""

    name: str
    type: str
    id: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The content of a run's report.

    Attributes:
        pipeline: The pipeline's name.
        run: The run's id.
        verdict: The decision of the gates.
        checks: The checks of the model and of its files.
        warnings: What people should know about data and settings, one line each.
        data: The data of the run.
        model: The sizes and the start of the model.
        training: The record of the training run.
        evaluation: The results on the eval split.
        tasks: The figures of memorisation and tasks.
        files: The files that may be released; the SavedModel is first.
        environment: Versions, processors and the lock's hash, by name.
        lineage: Ids of the artifacts in ML Metadata.
        configuration: The run's settings, without the machine's folders.
    """

    pipeline: str
    run: str
    verdict: Verdict
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    data: Data
    model: Model
    training: TrainingRecord
    evaluation: Evaluation
    tasks: tuple[TaskFigure, ...]
    files: tuple[ShippedFile, ...]
    environment: Mapping[str, str]
    lineage: tuple[LineageItem, ...]
    configuration: Mapping[str, Any]
