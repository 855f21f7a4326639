"""Typed configuration of a run; recipes, the command line and the DAG share this definition."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field, field_validator, model_validator

from modules.common.errors import InputError
from modules.common.failures import check_path
from modules.common.settings import Settings
from modules.evaluation.memorisation import MemorisationSettings
from modules.evaluation.perplexity_gate import PerplexityGateSettings
from modules.evaluation.tasks import Tasks, TaskSettings
from modules.evaluation.tflite_gate import TFLiteGateSettings
from modules.model import presets
from modules.model.settings import ModelSettings
from modules.training.settings import TrainingSettings
from pipeline.data_config import DataConfig
from pipeline.overrides import apply_override
from pipeline.plain_yaml import MAX_CHARACTERS, parse_yaml
from pipeline.setting_problems import describe_problem

RECIPES = Path(__file__).parent / "recipes"
DEFAULT_RECIPE = RECIPES / "documentation.yaml"

_SHOWN_PROBLEMS = 20

# Last stage of a run: data that meets its contract, tokens that meet theirs, or a release.
Stage = Literal["data", "tokens", "release"]


class TokenizerConfig(Settings):
    """Settings of the tokenizer: byte-level BPE (trained, from a preset, or from GPT-2's two files), or plain bytes."""

    kind: Literal["bpe", "byte"] = Field(
        "bpe",
        description="`byte` uses the 256 bytes as tokens, for tiny corpora and languages without a tokenizer. `bpe` "
        "needs one of the other settings.",
    )
    vocabulary_size: Annotated[int, Field(ge=258)] | None = Field(
        None,
        description="Train a vocabulary of this size on the train split: 256 bytes, merges, `<|endoftext|>`. The "
        "merges are those of Hugging Face's trainer.",
    )
    preset: str | None = Field(
        None, description="Use the vocabulary of this preset: a name or folder as in `model.preset`."
    )
    vocabulary: Path | None = Field(
        None, description="Use the vocabulary of this file in GPT-2's format; needs `merges`."
    )
    merges: Path | None = Field(None, description="The merges that belong to `vocabulary`, in GPT-2's format.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [self.vocabulary_size is not None, self.preset is not None, self.vocabulary is not None]
        if self.kind == "byte" and sum(ways) == 0 and self.merges is None:
            return self
        if self.kind == "byte" or sum(ways) != 1 or (self.vocabulary is None) != (self.merges is None):
            raise ValueError(
                "choose one: `vocabulary_size: N` to train, `preset: NAME`, `vocabulary: F` with `merges: F`, or "
                "`kind: byte`"
            )
        return self

    def settings(self) -> dict[str, Any]:
        """Returns the chosen way as `modules.tokenization.tokenizer_files` takes it."""
        if self.kind == "byte":
            return {"kind": "byte"}
        return self.model_dump(mode="json", exclude_none=True, exclude={"kind"})


class EvaluationConfig(PerplexityGateSettings):
    """Settings of the evaluation: how models are measured, and the gates that they must pass."""

    strided: bool = Field(
        False,
        description="Evaluation windows overlap by half, so that a token deep in a document sees at least half a "
        "window of the text before it.",
    )
    slices: tuple[str, ...] = Field(
        ("source", "length"),
        description="Features of the data contract whose values divide the eval split into slices.",
    )
    memorisation: MemorisationSettings = Field(
        MemorisationSettings.model_validate({}), description="Measures how much training text the model recites."
    )
    tasks: Tasks = Field((), description="Multiple-choice files, and answers to prompts of the eval split.")
    tflite: TFLiteGateSettings = Field(
        TFLiteGateSettings.model_validate({}), description="The gate of the TFLite files."
    )

    @property
    def gate(self) -> PerplexityGateSettings:
        """Returns only the limits of the perplexity gate."""
        return PerplexityGateSettings.model_validate(
            self.model_dump(include=set(PerplexityGateSettings.model_fields), exclude_unset=True)
        )

    @property
    def sliced_by(self) -> tuple[str, ...]:
        """Returns the features of `slices`, followed by those that only a limit names."""
        return tuple(dict.fromkeys((*self.slices, *(limit.feature for limit in self.slice_limits))))

    @property
    def task_settings(self) -> TaskSettings:
        """Returns the settings of the TaskEvaluator."""
        return TaskSettings(memorisation=self.memorisation, tasks=self.tasks)


class PipelineConfig(Settings):
    """All settings of a run."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,60}$")] = Field(
        description="Name of the pipeline in ML Metadata, in the workspace and on Vertex."
    )
    workspace: Path = Field(Path("workspace"), description="Folder for metadata, artifacts, logs and releases.")
    data: DataConfig = Field(description="The text: source, kind, splits, cleaning.")
    tokenizer: TokenizerConfig = Field(description="The vocabulary.")
    model: ModelSettings = Field(description="Source of the weights, and the sizes of the model.")
    training: TrainingSettings = Field(description="How to train.")
    evaluation: EvaluationConfig = Field(description="How to measure, and the gates.")

    @field_validator("workspace", mode="before")
    @classmethod
    def _workspace_is_a_path(cls, workspace: Any) -> Any:
        if isinstance(workspace, str):
            check_path(workspace)
        return workspace

    @model_validator(mode="after")
    def _preset_with_its_tokenizer(self) -> Self:
        if self.model.preset and (self.tokenizer.vocabulary_size or self.tokenizer.kind == "byte"):
            raise ValueError(
                "`model.preset` comes with a vocabulary: select it with `tokenizer.preset` instead of training one "
                "with `tokenizer.vocabulary_size` or using `kind: byte`"
            )
        return self

    @model_validator(mode="after")
    def _adapters_of_a_trained_model(self) -> Self:
        if self.training.lora and self.model.preset is None and not self.model.warm_start:
            raise ValueError(
                "`training.lora` adapts a trained model, and a randomly initialized model has learned nothing: set "
                "`model.preset` or `model.warm_start`, or remove `training.lora`"
            )
        return self

    @model_validator(mode="after")
    def _preferences_by_dpo(self) -> Self:
        if (self.data.kind == "preference") != (self.training.dpo is not None):
            cure = "remove `training.dpo`" if self.training.dpo else "add `training.dpo`, e.g. `dpo: {beta: 0.1}`"
            raise ValueError(
                "`data.kind: preference` and `training.dpo` must be set together. "
                f"Received: `data.kind: {self.data.kind}`; {cure}"
            )
        return self

    @model_validator(mode="after")
    def _improvement_over_something(self) -> Self:
        if self.evaluation.min_improvement is not None and self.evaluation.strided:
            raise ValueError(
                "`evaluation.min_improvement` is measured in windows that do not overlap: set `evaluation.strided` to "
                "false"
            )
        if self.evaluation.min_improvement is not None and self.model.preset is None:
            raise ValueError(
                "`evaluation.min_improvement` compares with `model.preset`, which is not set: add `model.preset`, or "
                "remove `evaluation.min_improvement`"
            )
        if self.evaluation.min_improvement is not None and self.model.warm_start:
            raise ValueError(
                "`evaluation.min_improvement` compares with `model.preset`, and a warm start begins from the latest "
                "blessed model: remove one of the two; `evaluation.max_regression` compares with the latest blessed "
                "model"
            )
        return self

    @model_validator(mode="after")
    def _teacher_with_its_tokenizer(self) -> Self:
        if self.training.distillation is None:
            return self
        teacher = self.training.distillation.teacher
        by_name = "/" not in teacher and not Path(teacher).is_dir()
        if by_name and (self.tokenizer.vocabulary_size or self.tokenizer.kind == "byte"):
            raise ValueError(
                f"`training.distillation.teacher: {teacher}` has GPT-2's vocabulary: select it with "
                "`tokenizer.preset` instead of training one with `tokenizer.vocabulary_size` or using `kind: byte`"
            )
        return self

    def largest_context(self) -> int:
        """Returns the largest context length that the model and its teacher can have.

        Raises:
            InputError: `presets.read_sizes` cannot read a preset.
        """
        largest = self.model.largest_context()
        teacher = self.training.distillation and presets.read_sizes(self.training.distillation.teacher)
        return min(largest, teacher.positions) if teacher else largest

    @property
    def metadata_path(self) -> Path:
        """Returns the path of ML Metadata's SQLite database, which all pipelines of the workspace share."""
        return self.workspace / "metadata.sqlite"

    @property
    def pipeline_root(self) -> Path:
        """Returns the folder of this pipeline's artifacts."""
        return self.workspace / self.name / "artifacts"

    @property
    def push_directory(self) -> Path:
        """Returns the folder of the releases, TF Serving's `--model_base_path`."""
        return self.workspace / self.name / "releases"


def load_config(path: Path | None = None, overrides: list[str] | None = None) -> PipelineConfig:
    """Reads a YAML recipe, applies `key=value` overrides and validates the result.

    Args:
        path: YAML file. Default: the recipe of `make run`.
        overrides: Dotted keys with values, e.g. `["training.steps=10", "data.source=data/*.txt"]`; see
            `pipeline.overrides`.

    Raises:
        InputError: The recipe is not valid; the message lists every problem with its key and cure.
    """
    path = path or DEFAULT_RECIPE
    try:
        with path.open(encoding="utf-8") as file:
            values = parse_yaml(file.read(MAX_CHARACTERS + 1))
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(
            f"{path} is not valid YAML: {error}. Write text with signs of YAML's own in quotes, e.g. '*.txt' or '%'."
        ) from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold settings as `key: value`. Received: {type(values).__name__}.")
    for override in overrides or []:
        apply_override(values, override, PipelineConfig)
    try:
        config = PipelineConfig.model_validate(values)
        config.data.to_corpus()
    except pydantic.ValidationError as error:
        problems = [f"  {describe_problem(problem, PipelineConfig)}" for problem in error.errors()[:_SHOWN_PROBLEMS]]
        if error.error_count() > _SHOWN_PROBLEMS:
            problems.append(f"  … and {error.error_count() - _SHOWN_PROBLEMS} more")
        raise InputError(f"{path} is not a valid configuration:\n" + "\n".join(problems)) from error
    return config
