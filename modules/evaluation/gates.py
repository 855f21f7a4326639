"""What was measured, held against its limit: the one form that every gate's result has.

An evaluation's artifact holds a `checks.json`, written by `write_checks`: each gate of the run, what it measured, its
limit and whether that was met. Nothing ships whose checks are missing or did not pass.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from modules.common.formatting import NOT_MEASURED, distinguishable
from modules.common.json_files import read_json, write_json

CHECKS_FILE = "checks.json"
_REASONS_TOLD = 3

Bound = Literal["at most", "at least"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One measured value and its limit.

    Attributes:
        metric: What was measured, as a reader would say it: `perplexity`, `perplexity of int8`.
        measured: The value, or None where there is none.
        limit: What it was held against.
        bound: On which side of the limit it must be; the limit itself passes.
        of: The part of the data, `source=scipy`; empty for all of it.
        limit_from: Where the limit comes from, with the setting to change: `evaluation.max_perplexity`.
        percent: Whether value and limit are shares, 0.02 for what is told as 2%.
    """

    metric: str
    measured: float | None
    limit: float
    bound: Bound
    of: str = ""
    limit_from: str
    percent: bool = False

    @property
    def measured_told(self) -> str:
        """The value for people: `151.8`, `2.6%`, `not measured`."""
        return NOT_MEASURED if self.measured is None else self._told()[0]

    @property
    def limit_told(self) -> str:
        """The limit for people: `150`, `2%`."""
        return self._told()[1]

    def _told(self) -> tuple[str, str]:
        measured = math.nan if self.measured is None else self.measured
        if self.percent:
            value, limit = distinguishable(100 * measured, 100 * self.limit)
            return f"{value}%", f"{limit}%"
        return distinguishable(measured, self.limit)

    @property
    def passed(self) -> bool:
        """Whether the value is within its limit; a missing one, NaN and infinity never are."""
        if self.measured is None or not math.isfinite(self.measured) or not math.isfinite(self.limit):
            return False
        return self.measured <= self.limit if self.bound == "at most" else self.measured >= self.limit

    @property
    def sentence(self) -> str:
        """`perplexity of source=scipy: 152 is above 150 (evaluation.slice_limits)`."""
        of = f" of {self.of}" if self.of else ""
        if self.measured is None:
            return f"{self.metric}{of}: {self.measured_told} ({self.limit_from})"
        within, beyond = ("within", "above") if self.bound == "at most" else ("at least", "below")
        verb = within if self.passed else "not a number for" if not math.isfinite(self.measured) else beyond
        return f"{self.metric}{of}: {self.measured_told} is {verb} {self.limit_told} ({self.limit_from})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gates decided about a model.

    Attributes:
        blessed: Whether it may ship.
        reason: Why, without a full stop: `perplexity 152 is above 150 (evaluation.max_perplexity)`.
    """

    blessed: bool
    reason: str

    @property
    def word(self) -> str:
        """`Blessed` or `Refused`."""
        return "Blessed" if self.blessed else "Refused"

    @property
    def sentence(self) -> str:
        """`Refused: perplexity 152 is above 150 (evaluation.max_perplexity).`"""
        return f"{self.word}: {self.reason}."


def verdict(
    checks: Iterable[Check],
    *,
    blessed: bool,
    file_checks: Iterable[Check] = (),
    released: Mapping[str, bool] | None = None,
    may_ship: bool = True,
) -> Verdict:
    """Says what was decided, and why; its `sentence` is for people.

    `Blessed: every one of 5 gates passed; int8 is left out: rise in perplexity of int8 3% is above 2% (…).`
    `Refused: perplexity 152 is above 150 (evaluation.max_perplexity).`

    Args:
        checks: Those of the model itself.
        blessed: Whether the Evaluator blessed the model.
        file_checks: Those of its TFLite files; one belongs to the precision that it names.
        released: Precision of a TFLite file to whether it ships.
        may_ship: False where every file is needed and one failed.
    """
    checks = list(checks)
    if not blessed or failed(checks) or not checks:
        return Verdict(blessed=False, reason=_reasons(failed(checks)) or _without_reason(checks))
    file_failures = failed(file_checks)
    if not may_ship:
        reasons = _reasons(file_failures) or "a TFLite file failed"
        return Verdict(blessed=False, reason=f"{reasons}, and nothing ships without it (evaluation.tflite.on_failure)")
    passed = "the one gate passed" if len(checks) == 1 else f"every one of {len(checks)} gates passed"
    left_out = "".join(
        f"; {precision} is left out: {_reasons(_naming(precision, file_failures)) or 'it was not released'}"
        for precision, ships in (released or {}).items()
        if not ships
    )
    return Verdict(blessed=True, reason=passed + left_out)


def failed(checks: Iterable[Check]) -> list[Check]:
    """Those that did not pass."""
    return [check for check in checks if not check.passed]


def write_checks(folder: str | Path, checks: Iterable[Check]) -> None:
    """Writes `checks.json` into an artifact's folder; what is not finite stands there as text, `"nan"` or `"inf"`."""
    rows = [
        {**{name: _as_json(value) for name, value in dataclasses.asdict(check).items()}, "passed": check.passed}
        for check in checks
    ]
    write_json(folder, CHECKS_FILE, rows)


def read_checks(folder: str | Path) -> list[Check]:
    """Reads what `write_checks` wrote.

    Raises:
        OSError: There is no such file.
    """
    return [Check(**_from_json(row)) for row in read_json(folder, CHECKS_FILE)]


def _as_json(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _from_json(row: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: float(row[name]) for name in ("measured", "limit") if isinstance(row[name], str)}
    return {**{name: value for name, value in row.items() if name != "passed"}, **numbers}


def _reasons(failures: Sequence[Check]) -> str:
    told = ", and ".join(_clause(check) for check in failures[:_REASONS_TOLD])
    more = len(failures) - _REASONS_TOLD
    return f"{told}, and {more} more" if more > 0 else told


def _clause(check: Check) -> str:
    # Within a sentence that has a colon already.
    name = f"{check.metric} of {check.of}" if check.of else check.metric
    return name + check.sentence.removeprefix(f"{name}:")


def _without_reason(checks: Sequence[Check]) -> str:
    return "the Evaluator did not bless it, although every check passed" if checks else "nothing was checked"


def _naming(precision: str, checks: Iterable[Check]) -> list[Check]:
    word = re.compile(rf"\b{re.escape(precision)}\b")
    return [check for check in checks if word.search(f"{check.metric} {check.of}")]
