"""What was measured, held against its limit: the one form that every gate's result has.

An evaluation's artifact holds a `checks.json`, written by `write_checks`: each gate of the run, what it measured, its
limit and whether that was met. Nothing ships whose checks are missing or did not pass.
"""

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

CHECKS_FILE = "checks.json"

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
    """

    metric: str
    measured: float | None
    limit: float
    bound: Bound
    of: str = ""
    limit_from: str

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
            return f"{self.metric}{of}: not measured ({self.limit_from})"
        within, beyond = ("within", "above") if self.bound == "at most" else ("at least", "below")
        verb = within if self.passed else "not a number for" if not math.isfinite(self.measured) else beyond
        return f"{self.metric}{of}: {_number(self.measured)} is {verb} {_number(self.limit)} ({self.limit_from})"


def failed(checks: Iterable[Check]) -> list[Check]:
    """Those that did not pass."""
    return [check for check in checks if not check.passed]


def write_checks(folder: str | Path, checks: Iterable[Check]) -> None:
    """Writes `checks.json` into an artifact's folder."""
    # NaN and infinity are not JSON; a reader of another language gets null, and the check failed all the same.
    rows = [{**_finite(dataclasses.asdict(check)), "passed": check.passed} for check in checks]
    path = Path(folder, CHECKS_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_checks(folder: str | Path) -> list[Check]:
    """Reads what `write_checks` wrote.

    Raises:
        OSError: There is no such file.
    """
    rows = json.loads(Path(folder, CHECKS_FILE).read_text(encoding="utf-8"))
    return [Check(**{name: value for name, value in row.items() if name != "passed"}) for row in rows]


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def _number(value: float) -> str:
    """At most four significant digits after the leading ones: `151.8`, `0.02`, `4,096`."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
