"""The gate of the TFLite files: what is measured of each, its limit, and which of them may ship."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from modules.common.json_files import read_json, write_json
from modules.common.settings import Settings
from modules.evaluation.gates import Check
from modules.export.tflite_files import Precision

FILES_FILE = "files.json"


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class GreedyAgreement:
    """How far a file's greedy continuations of some prompts follow the SavedModel's.

    Attributes:
        prompts: How many there were.
        tokens: How many new tokens were asked for.
        mean, least: Over the prompts, leading tokens that spell the same text; a continuation that is the same to its
            end counts as `tokens`.
        whole: Continuations that are the same to their end.
    """

    prompts: int
    tokens: int
    mean: float
    least: int
    whole: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileFigures:
    """What was measured of one TFLite file.

    Attributes:
        nll_sum, float_nll_sum: Negative log-likelihood in nats of the same documents, under the file and under the
            SavedModel.
        documents, tokens: How many were scored.
        whole_split: Whether those are all of the eval split.
        greedy_agreement: None where there was no prompt.
        decode_tokens_per_second, float_decode_tokens_per_second: One token after another, on the machine that
            measured; the SavedModel's for a single prompt.
        size_bytes, sha256: Of the file.
        problem: Why the file could not be measured; empty where it was.
    """

    nll_sum: float
    float_nll_sum: float
    documents: int
    tokens: int
    whole_split: bool
    greedy_agreement: GreedyAgreement | None
    decode_tokens_per_second: float
    float_decode_tokens_per_second: float
    size_bytes: int
    sha256: str
    problem: str = ""

    @property
    def perplexity(self) -> float:
        """exp(nats per token); NaN without a token."""
        return _exp(self.nll_sum / self.tokens) if self.tokens else math.nan

    @property
    def float_perplexity(self) -> float:
        """The SavedModel's."""
        return _exp(self.float_nll_sum / self.tokens) if self.tokens else math.nan

    @property
    def rise(self) -> float:
        """Relative rise in perplexity over the SavedModel: 0.02 is 2% worse."""
        return _exp((self.nll_sum - self.float_nll_sum) / self.tokens) - 1 if self.tokens else math.nan


def rise_check(precision: Precision, figures: FileFigures, settings: TFLiteGateSettings) -> Check:
    """Holds a file against its limit."""
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
    """Whether anything ships: with `on_failure: stop` only if every file passed."""
    return settings.on_failure == "leave_out" or all(check.passed for check in checks)


def write_files(
    folder: str | Path,
    figures: Mapping[Precision, FileFigures],
    checks: Mapping[Precision, Check],
    *,
    settings: TFLiteGateSettings,
) -> None:
    """Writes `files.json` into an evaluation's folder: by precision what was measured, and whether the file ships.

    What is not finite becomes null. `verdict` is the check in words, `released` says whether the file may ship.
    """
    shipping = may_release(checks.values(), settings)
    rows: dict[str, dict[str, Any]] = {}
    for precision, one in figures.items():
        check = checks[precision]
        rows[precision] = {
            "perplexity": one.perplexity,
            "float_perplexity": one.float_perplexity,
            "rise": one.rise,
            "documents": one.documents,
            "tokens": one.tokens,
            "greedy_agreement": one.greedy_agreement,
            "decode_tokens_per_second": one.decode_tokens_per_second,
            "float_decode_tokens_per_second": one.float_decode_tokens_per_second,
            "size_bytes": one.size_bytes,
            "sha256": one.sha256,
            "passed": check.passed,
            "released": check.passed and shipping,
            "verdict": f"{check.sentence}; {one.problem}" if one.problem else check.sentence,
        }
    write_json(folder, FILES_FILE, rows)


def read_files(folder: str | Path) -> dict[Precision, dict[str, Any]]:
    """Reads what `write_files` wrote.

    Raises:
        OSError: There is no such file.
    """
    rows: dict[Precision, dict[str, Any]] = read_json(folder, FILES_FILE)
    return rows


def _exp(value: float) -> float:
    """exp, infinite where that overflows."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
