"""Warnings about settings and data with which a training run is legal and of little use, one line each."""

from collections.abc import Sequence

from modules.common.formatting import share
from modules.training.record import SourceUse
from modules.training.settings import TrainingSettings

# More passes over the same windows than this teach a model to recite them.
MAX_PASSES = 100
_USUAL_PASSES = 10


def all_warnings(settings: TrainingSettings, *, windows: int, sources: Sequence[SourceUse] = ()) -> list[str]:
    """Returns the warnings about the settings and the train split.

    Args:
        settings: Settings of the training run.
        windows: Number of windows or pairs of the train split.
        sources: The weighted sources after the run. They are read more or less often than the split on average, so
            each is judged by itself.
    """
    about_data = source_warnings(settings, sources) if sources else data_warnings(settings, windows=windows)
    return [*settings_warnings(settings, settings.count_steps(windows)), *about_data]


def settings_warnings(settings: TrainingSettings, steps: int | None = None) -> list[str]:
    """Returns the warnings that follow from the settings and the number of steps.

    Args:
        settings: Settings of the training run.
        steps: Optimizer steps of the run; None: `settings.steps`, without which there are no warnings yet.
    """
    steps = steps or settings.steps
    if steps is None:
        return []
    warnings = []
    if settings.warmup_steps >= steps:
        warnings.append(
            f"`training.warmup_steps` is {settings.warmup_steps:,}, and the run has {steps:,} steps: the learning rate "
            f"reaches its peak only at the last step. Use for example `--set training.warmup_steps={steps // 10}`."
        )
    return [*warnings, *_validation_warnings(settings, steps)]


def data_warnings(settings: TrainingSettings, *, windows: int) -> list[str]:
    """Returns the warnings that follow from the size of the train split, in windows or pairs of preferences."""
    steps, unit = settings.count_steps(windows), "pairs" if settings.dpo else "windows"
    passes = steps * settings.batch_size / windows if windows else 0
    if passes <= MAX_PASSES:
        return []
    fewer = max(1, _USUAL_PASSES * windows // settings.batch_size)
    cure = f"training.steps={fewer}" if settings.steps else f"training.epochs={_USUAL_PASSES}"
    return [
        f"{steps:,} steps read the {windows:,} {unit} of the train split {passes:,.0f} times: a model that reads "
        f"a text more than {MAX_PASSES} times learns it by heart. Use more text, or for example `--set {cure}`."
    ]


def source_warnings(settings: TrainingSettings, sources: Sequence[SourceUse]) -> list[str]:
    """Returns one warning for each weighted source that the run read too often."""
    unit = "pairs" if settings.dpo else "windows"
    return [
        f"The run read the {source.rows:,} {unit} of the source {source.name!r} {source.times_read:,.0f} times: a "
        f"model that reads a text more than {MAX_PASSES} times learns it by heart. Give the source more text, lower "
        f"its `weight` in `data.sources`, which is now {share(source.share)} of all weights, or train for fewer steps."
        for source in sources
        if source.times_read > MAX_PASSES
    ]


def _validation_warnings(settings: TrainingSettings, steps: int) -> list[str]:
    evaluations = -(-steps // settings.evaluation_interval(steps))
    # The first evaluation is always the best so far, and stopping at the last step is not early.
    needed = (settings.early_stopping or 0) + 2
    more = max(1, steps // (2 * needed))
    cure = f"Use for example `--set training.evaluate_every={more}`."
    if settings.early_stopping and evaluations < needed:
        return [
            f"`training.early_stopping` is {settings.early_stopping:,}, and the run has {evaluations:,} evaluations: "
            f"it cannot stop early. {cure}"
        ]
    if settings.evaluate_every and settings.evaluate_every >= steps > 1:
        return [
            f"`training.evaluate_every` is {settings.evaluate_every:,}, and the run has {steps:,} steps: the model is "
            f"validated only after the last step. {cure}"
        ]
    return []
