"""The Evaluator's results, in the form of `metrics.json` in its artifact; readable without TensorFlow."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from modules.common.json_files import reading, write_json

METRICS_FILE = "metrics.json"

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one model on some documents. Intervals are of 95%, and None if there is only one document.

    Attributes:
        perplexity: exp(nats per token).
        bits_per_byte: Bits per UTF-8 byte; these can be compared between tokenizers.
        token_accuracy: Share of tokens to which the model gave the highest probability.
        tokens: The number of tokens that count.
        bytes: The number of UTF-8 bytes in the text of these tokens.
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
    """The relative change in perplexity from the baseline, on the same documents.

    Attributes:
        perplexity: 0.02 is 2% worse; see `LanguageModelMetrics` for models with different tokenizers.
        perplexity_interval: The 95% interval; None if there is only one document.
    """

    perplexity: float
    perplexity_interval: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceResult:
    """A slice of the eval split, and the models' figures on it.

    Attributes:
        feature: The feature by which the split is sliced, e.g. `source`; empty for the whole split.
        value: The feature's value, e.g. `scipy`.
        documents: The number of documents.
        candidate: The figures of the model that may be released.
        baseline: The figures of the latest blessed model; None if no model was blessed yet.
        change: The change from baseline to candidate; None without a baseline.
    """

    feature: str
    value: str
    documents: int
    candidate: Figures
    baseline: Figures | None
    change: Change | None

    @property
    def name(self) -> str:
        """Name such as `source=scipy`; empty for the whole split."""
        return f"{self.feature}={self.value}" if self.feature else ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The content of `metrics.json`.

    Attributes:
        window: The largest number of tokens that the candidate saw at the same time.
        stride: Tokens from the start of a window to the start of the next. Less than `window` if windows overlap.
        eval_fingerprint: `examples_fingerprint` of the eval split.
        baseline_eval_fingerprint: The same for the split on which the baseline was blessed; None if it is not known.
        same_tokenizer: True if baseline and candidate have the same tokenizer; None without a baseline.
        slices: First the whole split, then the slices by feature and value.
    """

    window: int
    stride: int
    eval_fingerprint: str
    baseline_eval_fingerprint: str | None
    same_tokenizer: bool | None
    slices: list[SliceResult]

    @property
    def overall(self) -> SliceResult:
        """Result on the whole eval split."""
        return self.slices[0]

    @property
    def new_eval_data(self) -> bool:
        """True if the baseline is known to have been blessed on another eval split."""
        return self.baseline_eval_fingerprint not in (None, self.eval_fingerprint)

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader needs to compare the candidate with the latest blessed model."""
        notes = []
        if self.same_tokenizer is False:
            notes.append(
                "The latest blessed model has another tokenizer: the two perplexities cannot be compared, but bits per "
                "byte can."
            )
        if self.new_eval_data:
            notes.append(
                "The eval data has changed since the latest blessed model was blessed, and that model may have been "
                "trained on some of it. Both models were measured on the present eval data."
            )
        return notes

    def write(self, folder: str | Path) -> None:
        """Writes `metrics.json`; numbers that are not finite become null."""
        write_json(folder, METRICS_FILE, self)

    @classmethod
    def read(cls, folder: str | Path) -> "Evaluation":
        """Reads the file that `write` wrote; null becomes NaN, and infinity in an interval.

        Raises:
            OSError: There is no `metrics.json`.
            InputError: The file lacks a value.
        """
        with reading(folder, METRICS_FILE) as values:
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
