"""What a run's report holds; `report_sources` gathers it, `report_rendering` makes it a page and a model card.

The classes of what the Trainer and the TFLiteEvaluator wrote as JSON read it leniently: a key that is not shown here is
no error, and NaN or infinity is None, as a missing value is.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator

from modules.common.json_files import finite
from modules.evaluation.gates import Check, Verdict
from modules.evaluation.results import Evaluation
from modules.evaluation.task_figures import TaskFigure

Number = Annotated[float | None, AfterValidator(finite)]


class _Facts(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="ignore")


class TrainingStep(_Facts):
    """What was logged at a step."""

    step: int
    loss: Number = None
    tokens_per_second: Number = None


class ValidationStep(_Facts):
    """Loss on held-out windows after a step."""

    step: int
    loss: Number = None


class Generation(_Facts):
    """A prompt, and what the model wrote after it before and after the training."""

    prompt: str
    before: str | None = None
    after: str


class Training(_Facts):
    """The Trainer's `training.json`; `loss_unit` is that of all losses, and None where they have none."""

    parameters: int
    loss: tuple[TrainingStep, ...] = ()
    validation: tuple[ValidationStep, ...] = ()
    loss_unit: str | None = None
    warm_start: bool = False
    perplexity_before: Number = None
    samples: tuple[Generation, ...] = ()


class GreedyAgreement(_Facts):
    """How long a file's greedy text is the float model's: tokens of `tokens`, and `whole` of `prompts` to the end."""

    prompts: int
    tokens: int
    mean: Number = None
    least: Number = None
    whole: int | None = None


class TFLiteFile(_Facts):
    """One file in the TFLiteEvaluator's `files.json`; `rise` is relative to the float model's perplexity."""

    perplexity: Number = None
    float_perplexity: Number = None
    rise: Number = None
    documents: int
    tokens: int
    greedy_agreement: GreedyAgreement | None = None
    decode_tokens_per_second: Number = None
    float_decode_tokens_per_second: Number = None
    released: bool


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
    measured: TFLiteFile | None
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
    training: Training
    evaluation: Evaluation
    tasks: tuple[TaskFigure, ...]
    files: tuple[ShippedFile, ...]
    environment: Mapping[str, str]
    lineage: tuple[LineageItem, ...]
    configuration: Mapping[str, Any]
