"""Checks: measured values and their limits. Every gate reports its results in this form.

`write_checks` writes the `checks.json` of an evaluation's artifact. It lists every gate of the evaluation, with the
measured value, the limit and whether the gate passed. A model whose checks are missing or failed is not released.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic

from modules.common.formatting import NOT_MEASURED, distinguishable
from modules.common.json_files import reading, write_json

CHECKS_FILE = "checks.json"
# A verdict names at most this many failed checks.
_SHOWN_REASONS = 3

Bound = Literal["at most", "at least"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """A measured value and its limit.

    Attributes:
        metric: Name of the measured quantity for readers: `perplexity`, `perplexity of int8`.
        measured: The measured value; None if it could not be measured.
        limit: The limit that the value is compared with.
        bound: The side of the limit on which the value must be; a value equal to the limit passes.
        of: The part of the data, such as `source=scipy`; empty for all data.
        limit_from: The setting that defines the limit: `evaluation.max_perplexity`.
        percent: Whether value and limit are shares, shown in percent: 0.02 is shown as 2%.

    Example:

    >>> check = Check(
    ...     metric="perplexity", measured=152.0, limit=150.0, bound="at most", limit_from="evaluation.max_perplexity"
    ... )
    >>> check.passed
    False
    >>> check.sentence
    'perplexity: 152 is above 150 (evaluation.max_perplexity)'
    """

    metric: str
    measured: float | None
    limit: float
    bound: Bound
    of: str = ""
    limit_from: str
    percent: bool = False

    @property
    def measured_text(self) -> str:
        """The value for readers: `151.8`, `2.6%`, `not measured`."""
        return NOT_MEASURED if self.measured is None else self._texts()[0]

    @property
    def limit_text(self) -> str:
        """The limit for readers: `150`, `2%`."""
        return self._texts()[1]

    def _texts(self) -> tuple[str, str]:
        measured = math.nan if self.measured is None else self.measured
        if self.percent:
            value, limit = distinguishable(100 * measured, 100 * self.limit)
            return f"{value}%", f"{limit}%"
        return distinguishable(measured, self.limit)

    @property
    def passed(self) -> bool:
        """True if the value is within its limit. A missing value, NaN and infinity never pass."""
        if self.measured is None or not math.isfinite(self.measured) or not math.isfinite(self.limit):
            return False
        return self.measured <= self.limit if self.bound == "at most" else self.measured >= self.limit

    @property
    def sentence(self) -> str:
        """The result for readers: `perplexity of source=scipy: 152 is above 150 (evaluation.slice_limits)`."""
        of = f" of {self.of}" if self.of else ""
        if self.measured is None:
            return f"{self.metric}{of}: {self.measured_text} ({self.limit_from})"
        within, beyond = ("within", "above") if self.bound == "at most" else ("at least", "below")
        verb = within if self.passed else "not comparable with" if not math.isfinite(self.measured) else beyond
        return f"{self.metric}{of}: {self.measured_text} is {verb} {self.limit_text} ({self.limit_from})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """The decision of all gates about a model.

    Attributes:
        blessed: Whether the model may be released.
        reason: The reason, without a full stop: `perplexity 152 is above 150 (evaluation.max_perplexity)`.
    """

    blessed: bool
    reason: str

    @property
    def word(self) -> str:
        """The decision: `Blessed` or `Refused`."""
        return "Blessed" if self.blessed else "Refused"

    @property
    def sentence(self) -> str:
        """The decision and its reason: `Refused: perplexity 152 is above 150 (evaluation.max_perplexity).`"""
        return f"{self.word}: {self.reason}."


def verdict(
    checks: Iterable[Check],
    *,
    blessed: bool,
    file_checks: Iterable[Check] = (),
    released: Mapping[str, bool] | None = None,
    may_ship: bool = True,
) -> Verdict:
    """Returns the decision about a model, with its reason. Its `sentence` is for readers, for example:

    `Blessed: all 5 gates passed; int8 is left out: rise in perplexity of int8 3% is above 2% (…).`
    `Refused: perplexity 152 is above 150 (evaluation.max_perplexity).`

    Args:
        checks: Checks of the model itself.
        blessed: Whether the Evaluator blessed the model.
        file_checks: Checks of the model's TFLite files. A check belongs to the precision that its metric names.
        released: Whether each TFLite file is released, by precision.
        may_ship: False if every file must pass and one of them failed.
    """
    checks = list(checks)
    if not blessed or failed(checks) or not checks:
        return Verdict(blessed=False, reason=_reasons(failed(checks)) or _without_reason(checks))
    file_failures = failed(file_checks)
    if not may_ship:
        reasons = _reasons(file_failures) or "a TFLite file failed"
        return Verdict(blessed=False, reason=f"{reasons}, and nothing ships without it (evaluation.tflite.on_failure)")
    passed = "the one gate passed" if len(checks) == 1 else f"all {len(checks)} gates passed"
    left_out = "".join(
        f"; {precision} is left out: {_reasons(_naming(precision, file_failures)) or 'it was not released'}"
        for precision, ships in (released or {}).items()
        if not ships
    )
    return Verdict(blessed=True, reason=passed + left_out)


def failed(checks: Iterable[Check]) -> list[Check]:
    """Returns the checks that did not pass."""
    return [check for check in checks if not check.passed]


def write_checks(folder: str | Path, checks: Iterable[Check]) -> None:
    """Writes `checks.json` into an artifact's folder; NaN and infinity are written as the texts `"nan"` and `"inf"`."""
    rows = [
        {**{name: _as_json(value) for name, value in dataclasses.asdict(check).items()}, "passed": check.passed}
        for check in checks
    ]
    write_json(folder, CHECKS_FILE, rows)


def read_checks(folder: str | Path) -> list[Check]:
    """Reads the `checks.json` that `write_checks` wrote.

    Raises:
        OSError: The folder has no such file.
        InputError: The file lacks a value or has one of another type.
    """
    with reading(folder, CHECKS_FILE) as rows:
        return pydantic.TypeAdapter(list[Check]).validate_python([_from_json(row) for row in rows])


def _as_json(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _from_json(row: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: float(row[name]) for name in ("measured", "limit") if isinstance(row[name], str)}
    return {**{name: value for name, value in row.items() if name != "passed"}, **numbers}


def _reasons(failures: Sequence[Check]) -> str:
    reasons = ", and ".join(_clause(check) for check in failures[:_SHOWN_REASONS])
    more = len(failures) - _SHOWN_REASONS
    return f"{reasons}, and {more} more" if more > 0 else reasons


def _clause(check: Check) -> str:
    # Without the colon, because the verdict has one already.
    name = f"{check.metric} of {check.of}" if check.of else check.metric
    return name + check.sentence.removeprefix(f"{name}:")


def _without_reason(checks: Sequence[Check]) -> str:
    return "the Evaluator did not bless it, although every check passed" if checks else "nothing was checked"


def _naming(precision: str, checks: Iterable[Check]) -> list[Check]:
    word = re.compile(rf"\b{re.escape(precision)}\b")
    return [check for check in checks if word.search(f"{check.metric} {check.of}")]
