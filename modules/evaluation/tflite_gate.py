"""The gate of the TFLite files: the limit of each, and which of them may ship."""

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from modules.common.json_files import finite
from modules.common.settings import Settings
from modules.evaluation.gates import Check
from modules.evaluation.tflite_results import FileFigures, FileResult
from modules.export.tflite_files import Precision


class MaxRise(Settings):
    """Relative rise in perplexity that each file may have over the float model: 0.02 is 2%."""

    float16: NonNegativeFloat = Field(
        0.005, description="Largest relative rise in perplexity of the float16 file over the SavedModel; 0.005 is 0.5%."
    )
    int8: NonNegativeFloat = Field(0.02, description="The same for the int8 file.")


class TFLiteGateSettings(Settings):
    """The gate of the TFLite files."""

    max_rise: MaxRise = Field(
        MaxRise.model_validate({}),
        description="Largest relative rise in perplexity of each file over the SavedModel; 0.02 is 2%.",
    )
    on_failure: Literal["leave_out", "stop"] = Field(
        "leave_out",
        description="If a file fails: leave it out and release the rest, or stop, so that nothing is released.",
    )
    max_tokens: PositiveInt | None = Field(
        200_000,
        description="Score documents of the eval split until they contain this many tokens; null: all documents.",
    )


def rise_check(precision: Precision, figures: FileFigures, settings: TFLiteGateSettings) -> Check:
    """Compares a file's rise in perplexity with its limit."""
    return Check(
        metric=f"rise in perplexity of {precision}",
        measured=figures.rise,
        limit=getattr(settings.max_rise, precision),
        bound="at most",
        of="" if figures.whole_split else f"the first {figures.tokens:,} tokens",
        limit_from=f"evaluation.tflite.max_rise.{precision}",
        percent=True,
    )


def may_release(checks: Iterable[Check], settings: TFLiteGateSettings) -> bool:
    """Returns whether anything ships: with `on_failure: stop` only if every file passed."""
    return settings.on_failure == "leave_out" or all(check.passed for check in checks)


def file_results(
    figures: Mapping[Precision, FileFigures], checks: Mapping[Precision, Check], *, settings: TFLiteGateSettings
) -> dict[Precision, FileResult]:
    """Returns what `files.json` holds of each file.

    Args:
        figures: What was measured, by precision.
        checks: `rise_check` of each file.
        settings: Decide what ships if a file failed.
    """
    shipping = may_release(checks.values(), settings)
    return {precision: _result(measured, checks[precision], shipping) for precision, measured in figures.items()}


def _result(figures: FileFigures, check: Check, shipping: bool) -> FileResult:
    return FileResult(
        perplexity=finite(figures.perplexity),
        float_perplexity=finite(figures.float_perplexity),
        rise=finite(figures.rise),
        documents=figures.documents,
        tokens=figures.tokens,
        greedy_agreement=figures.greedy_agreement,
        decode_tokens_per_second=finite(figures.decode_tokens_per_second),
        float_decode_tokens_per_second=finite(figures.float_decode_tokens_per_second),
        size_bytes=figures.size_bytes,
        sha256=figures.sha256,
        passed=check.passed,
        released=check.passed and shipping,
        verdict=f"{check.sentence}; {figures.problem}" if figures.problem else check.sentence,
    )
