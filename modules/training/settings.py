"""The settings of a training run: `training` in a recipe, and the input of `modules.training.run_fn`."""

import math
from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from modules.common.settings import Settings
from modules.model.settings import LoraSettings
from modules.objectives.settings import DistillationSettings, DpoSettings

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
LearningRateSchedule = Literal["cosine", "linear", "constant"]
Devices = Literal["auto", "cpu", "gpu", "mirrored", "multi_worker", "tpu"]

# Number of evaluations of the validation windows without `evaluate_every`.
DEFAULT_EVALUATIONS = 4


class TrainingSettings(Settings):
    """The settings of training with AdamW: length, speed, precision, validation, checkpoints and the objective."""

    steps: PositiveInt | None = Field(None, description="Optimizer steps. Give either this or `epochs`.")
    epochs: PositiveFloat | None = Field(None, description="Passes over the train split. Give either this or `steps`.")
    devices: Devices = Field(
        "auto",
        description="`auto` takes a GPU if there is one. The others must be present: `cpu`, `gpu`, `mirrored` (all "
        "GPUs of a machine), `multi_worker` (several machines, by TF_CONFIG), `tpu`.",
    )
    batch_size: PositiveInt = Field(
        8, description="Windows (or pairs of preferences) per step, on all devices together."
    )
    micro_batches: PositiveInt = Field(
        1,
        description="Gradient accumulation: a batch is cut into this many parts, which are in memory one after the "
        "other. The gradient is that of the whole batch, weighted by counted targets. Must divide `batch_size`. "
        "Validation uses batches of the same size as a part.",
    )
    learning_rate: PositiveFloat = Field(3e-4, description="Peak learning rate of AdamW, reached after the warm-up.")
    schedule: LearningRateSchedule = Field(
        "cosine", description="After the warm-up the rate falls to zero along a cosine or a line, or stays constant."
    )
    warmup_steps: NonNegativeInt = Field(100, description="Steps during which the rate rises from zero to its peak.")
    weight_decay: NonNegativeFloat = Field(
        0.01, description="AdamW's weight decay; not applied to biases and layer norms."
    )
    gradient_clip_norm: PositiveFloat = Field(
        1.0, description="Largest global norm of a step's gradients; larger gradients are scaled down to it."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Share of the target's probability that is spread over the vocabulary. The loss curve and the "
        "perplexity are computed without it.",
    )
    precision: Precision = Field(
        "float32",
        description="Precision of the computation; weights stay float32. mixed_float16 scales the loss and leaves out "
        "a step that overflows.",
    )
    jit_compile: bool = Field(False, description="Compile the training step with XLA; on one device only.")
    remat: bool = Field(
        False,
        description="Rematerialization: each block's activations are computed again for its gradients instead of "
        "kept. Takes less memory and more time.",
    )
    isolate_documents: bool = Field(
        False,
        description="Documents that share a window do not attend to each other, and positions start at 0 in each.",
    )
    evaluate_every: PositiveInt | None = Field(
        None, description="Steps between evaluations of the validation windows; default: a quarter of all steps."
    )
    validation_windows: PositiveInt | None = Field(
        80, description="Windows (or pairs) of the eval split that validation uses; null: all."
    )
    early_stopping: PositiveInt | None = Field(
        None, description="Stop after this many evaluations in a row without a new lowest validation loss."
    )
    restore_best: bool = Field(
        False, description="End with the weights of the lowest validation loss instead of the last weights."
    )
    checkpoint_seconds: NonNegativeFloat = Field(
        60.0,
        description="Seconds between checkpoints. After an interruption the same command resumes from the last one.",
    )
    lora: LoraSettings | None = Field(
        None, description="Train low-rank changes of some matrices (LoRA, QLoRA) instead of all weights."
    )
    dpo: DpoSettings | None = Field(
        None, description="Train by DPO; needed for `data.kind: preference`, and only for it."
    )
    distillation: DistillationSettings | None = Field(
        None, description="Learn also from the predictions of a larger model."
    )
    seed: NonNegativeInt = Field(
        0, lt=2**32, description="Seed of the initial weights, the dropout and the order of the windows."
    )

    @pydantic.model_validator(mode="after")
    def _steps_or_epochs(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of `steps` and `epochs`")
        return self

    @pydantic.model_validator(mode="after")
    def _whole_micro_batches(self) -> Self:
        if self.batch_size % self.micro_batches:
            raise ValueError(
                "`micro_batches` must divide `batch_size`. "
                f"Received: {self.micro_batches} and {self.batch_size}; change one of the two"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _compiled_for_one_device(self) -> Self:
        if self.jit_compile and self.devices in ("mirrored", "multi_worker", "tpu"):
            raise ValueError(
                "`jit_compile` needs one device, `devices: auto`, `cpu` or `gpu` (a TPU always compiles). "
                f"Received: {self.devices}; drop one of the two"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _quantized_where_it_can_be(self) -> Self:
        if self.lora and self.lora.quantization and self.precision == "mixed_float16":
            raise ValueError(
                "`lora.quantization` needs `precision: float32` or `mixed_bfloat16`. Received: mixed_float16; "
                "change one of the two"
            )
        if self.lora and self.lora.quantization and self.devices == "multi_worker":
            raise ValueError(
                "`lora.quantization` needs the devices of one machine: TensorFlow sends no int8 from worker to worker. "
                "Received: `devices: multi_worker`; drop one of the two"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _preferences_by_themselves(self) -> Self:
        if self.dpo and self.distillation:
            raise ValueError(
                "`distillation` cannot be used with `dpo`: it learns single tokens, and `dpo` compares whole answers. "
                "Received: both. Remove one of them"
            )
        if self.dpo and self.label_smoothing:
            raise ValueError(
                "`label_smoothing` cannot be used with `dpo`: it smooths single tokens, and `dpo` compares whole "
                f"answers. Received: {self.label_smoothing} with `dpo`. Remove one of them"
            )
        if self.dpo and self.isolate_documents:
            raise ValueError(
                "`isolate_documents` cannot be used with `dpo`: there each answer already has its own row. "
                "Received: both. Remove `isolate_documents`"
            )
        return self

    def fingerprint(self) -> str:
        """Returns the hash of the teacher's files; empty without distillation.

        Raises:
            InputError: `presets.check_name` refuses the teacher.
        """
        return self.distillation.fingerprint() if self.distillation else ""

    @property
    def micro_batch_size(self) -> int:
        """Windows or pairs that go through the model at once, on all devices together."""
        return self.batch_size // self.micro_batches

    def count_steps(self, windows: int) -> int:
        """Returns the optimizer steps over a train split of so many windows or pairs; half a step counts as one."""
        return self.steps or max(1, math.floor((self.epochs or 1) * windows / self.batch_size + 0.5))

    def evaluation_interval(self, steps: int) -> int:
        """Returns the steps between two evaluations of the validation windows in a run of so many steps."""
        return self.evaluate_every or -(-steps // DEFAULT_EVALUATIONS)
