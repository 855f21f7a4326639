"""What the Evaluator measured, as its artifact holds it in `metrics.json`; readable without TensorFlow."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from modules.common.json_files import read_json, write_json

METRICS_FILE = "metrics.json"

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """What one model reached on some documents; intervals are of 95% and None where there is one document only.

    Attributes:
        perplexity: exp(nats per token).
        bits_per_byte: Comparable between tokenizers.
        token_accuracy: Share of tokens that were the likeliest.
        tokens: That counted.
        bytes: UTF-8 bytes of the text that they spell.
    """

    perplexity: float
    perplexity_interval: Interval | None
    bits_per_byte: float
    bits_per_byte_interval: Interval | None
    token_accuracy: float
    token_accuracy_interval: Interval | None
    tokens: int
    bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """The relative change in perplexity against the baseline, on the same documents.

    Attributes:
        perplexity: 0.02 is 2% worse; see `LanguageModelMetrics` for models with different tokenizers.
        perplexity_interval: Of 95%, None where there is one document only.
    """

    perplexity: float
    perplexity_interval: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceResult:
    """A slice of the eval split, and what the models reached on it.

    Attributes:
        feature: `source`; empty for the whole split.
        value: Of the feature, e.g. `scipy`.
        documents: How many.
        candidate: The model that wants to be released.
        baseline: The latest blessed one, None where there is none yet.
        change: From baseline to candidate.
    """

    feature: str
    value: str
    documents: int
    candidate: Figures
    baseline: Figures | None
    change: Change | None

    @property
    def name(self) -> str:
        """`source=scipy`; empty for the whole split."""
        return f"{self.feature}={self.value}" if self.feature else ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What the Evaluator measured, as it stands in `metrics.json`.

    Attributes:
        window: Most tokens that the candidate saw at once.
        stride: Tokens from the start of a window to that of the next; less than the window where they overlap.
        eval_fingerprint: `examples_fingerprint` of the eval split.
        baseline_eval_fingerprint: The same of the split on which the baseline was blessed; None where that is unknown.
        same_tokenizer: Whether the baseline has the candidate's; None without a baseline.
        slices: The whole split first, then by feature and value.
    """

    window: int
    stride: int
    eval_fingerprint: str
    baseline_eval_fingerprint: str | None
    same_tokenizer: bool | None
    slices: list[SliceResult]

    @property
    def overall(self) -> SliceResult:
        """The whole eval split."""
        return self.slices[0]

    @property
    def new_eval_data(self) -> bool:
        """Whether the baseline is known to have been blessed on another eval split."""
        return self.baseline_eval_fingerprint not in (None, self.eval_fingerprint)

    @property
    def notes(self) -> list[str]:
        """What must be known to compare with the latest blessed model, a sentence each."""
        notes = []
        if self.same_tokenizer is False:
            notes.append(
                "The latest blessed model has another tokenizer: perplexities of the two do not compare, bits per byte "
                "do."
            )
        if self.new_eval_data:
            notes.append(
                "The eval data is not what the latest blessed model was held against when it was blessed, and it may "
                "have been trained on some of it; both were measured on the present."
            )
        return notes

    def write(self, folder: str | Path) -> None:
        """Writes `metrics.json`; what is not finite becomes null."""
        write_json(folder, METRICS_FILE, self)

    @classmethod
    def read(cls, folder: str | Path) -> "Evaluation":
        """Reads what `write` wrote; null becomes NaN.

        Raises:
            OSError: There is no `metrics.json`.
        """
        values = read_json(folder, METRICS_FILE)
        return cls(**{**values, "slices": [_slice(row) for row in values["slices"]]})


def _slice(row: dict[str, Any]) -> SliceResult:
    figures = {name: row[name] and Figures(**_read(row[name])) for name in ("candidate", "baseline")}
    return SliceResult(**{**row, **figures, "change": row["change"] and Change(**_read(row["change"]))})


def _read(values: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, value in values.items():
        if name.endswith("_interval"):
            read[name] = value and tuple(math.inf if end is None else end for end in value)
        else:
            read[name] = math.nan if value is None else value
    return read
