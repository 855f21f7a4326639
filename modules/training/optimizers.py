"""The AdamW optimizer and the learning rate schedules of a training run."""

import keras

from modules.training.fused_adamw import FusedAdamW
from modules.training.settings import TrainingSettings


def build_optimizer(settings: TrainingSettings, steps: int) -> keras.optimizers.Optimizer:
    """Builds AdamW that does not decay biases and layer norms; `mixed_float16` adds dynamic loss scaling.

    The optimizer does not clip gradients: `modules.training.language_model_trainer` does.

    Args:
        settings: Learning rate, schedule, weight decay and precision.
        steps: Optimizer steps of the whole training run.
    """
    optimizer = FusedAdamW(build_schedule(settings, steps), beta_2=0.95, weight_decay=settings.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    if settings.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def build_schedule(settings: TrainingSettings, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Builds the learning rate by step: a linear warm-up, then the schedule that `settings.schedule` names.

    ```
    steps = 4, warmup_steps = 2, learning_rate = 1
    cosine     0  0.5  1  0.5
    linear     0  0.5  1  0.5
    constant   0  0.5  1  1
    ```
    """
    warmup_steps = min(settings.warmup_steps, steps - 1)
    decay_steps = steps - warmup_steps
    if settings.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            0.0, decay_steps, warmup_target=settings.learning_rate, warmup_steps=warmup_steps
        )
    end = settings.learning_rate if settings.schedule == "constant" else 0.0
    return LinearScheduleWithWarmup(settings.learning_rate, end, warmup_steps=warmup_steps, decay_steps=decay_steps)


class LinearScheduleWithWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly from 0 to a peak, then changes linearly to an end value.

    Keras' `PolynomialDecay` has no warm-up.
    """

    def __init__(self, peak: float, end: float, *, warmup_steps: int, decay_steps: int):
        self._peak, self._end = peak, end
        self._warmup_steps, self._decay_steps = warmup_steps, decay_steps

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the float32 learning rate of a step; the first step has number 0."""
        step = keras.ops.cast(step, "float32")
        warmup_rate = self._peak * step / max(1, self._warmup_steps)
        progress = keras.ops.minimum(1.0, (step - self._warmup_steps) / self._decay_steps)
        return keras.ops.where(step < self._warmup_steps, warmup_rate, self._peak + progress * (self._end - self._peak))

    def get_config(self) -> dict[str, float]:
        """Returns the arguments from which Keras builds this schedule again."""
        return {
            "peak": self._peak, "end": self._end, "warmup_steps": self._warmup_steps, "decay_steps": self._decay_steps
        }  # fmt: skip
