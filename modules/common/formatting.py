"""Numbers and received values as text for readers: in messages, tables, the terminal and the report."""

import math
import reprlib

NOT_MEASURED = "not measured"
NOT_COUNTED = "not counted"
EXCERPT_LENGTH = 200

_SHORT = reprlib.Repr()
_SHORT.maxlevel = 4
_SHORT.maxtuple = _SHORT.maxlist = _SHORT.maxdict = _SHORT.maxset = _SHORT.maxfrozenset = 20
_SHORT.maxstring = _SHORT.maxother = EXCERPT_LENGTH
_SHORT.maxlong = 60


def excerpt(value: object) -> str:
    """Returns `repr` of a received value for a message, cut to about `EXCERPT_LENGTH` characters however large it is.

    Example:
        >>> excerpt("ab"), excerpt([1.5, None]), len(excerpt(["x" * 10**6]))
        ("'ab'", '[1.5, None]', 202)
    """
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= EXCERPT_LENGTH + 2 else f"{text[:EXCERPT_LENGTH]}…"


def significant(value: float) -> str:
    """Returns a number with at most four significant digits, from 1,000 on without decimals.

    Example:
        >>> [significant(value) for value in (151.806, 0.02, 4096, float("nan"))]
        ['151.8', '0.02', '4,096', 'nan']
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def distinguishable(left: float, right: float) -> tuple[str, str]:
    """Returns two numbers as texts, with enough digits that different numbers have different texts.

    Example:
        >>> distinguishable(150.004, 150)
        ('150.004', '150')
    """
    texts = significant(left), significant(right)
    digits = 5
    while texts[0] == texts[1] and math.isfinite(left) and left != right and digits <= 17:
        texts, digits = (f"{left:,.{digits}g}", f"{right:,.{digits}g}"), digits + 1
    return texts


def number(value: float | None) -> str:
    """Returns `151.8`, or words where the value is missing or not finite."""
    return NOT_MEASURED if value is None or not math.isfinite(value) else significant(value).replace("-", "−")


def decimals(value: float | None, digits: int = 2) -> str:
    """Returns a fixed number of decimals, so that a column lines up: `1,151.80`; a dash where the value is missing."""
    return "-" if value is None else f"{value:,.{digits}f}"


def count(value: int | None, missing: str = NOT_COUNTED) -> str:
    """Returns `13,312,296`, or words where the value is missing."""
    return missing if value is None else f"{value:,}"


def interval(ends: tuple[float, float] | None) -> str:
    """Returns `149.1 to 154.6`; empty where an end is missing."""
    return f"{number(ends[0])} to {number(ends[1])}" if ends and _finite(ends) else ""


def share(value: float | None) -> str:
    """Returns a share of 0 to 1 as `31.2%`."""
    return NOT_MEASURED if value is None or not math.isfinite(value) else f"{value:.1%}"


def change(value: float | None) -> str:
    """Returns a relative change with its sign: `+3.0%`, `−80.9%`, `+0.04%`."""
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    digits = 1 if abs(value) >= 0.001 or value == 0 else 3
    return f"{value:+.{digits}%}".replace("-", "−")


def change_interval(ends: tuple[float, float] | None) -> str:
    """Returns `−81.5% to −80.1%`; empty where an end is missing."""
    return f"{change(ends[0])} to {change(ends[1])}" if ends and _finite(ends) else ""


def size(value: int | None) -> str:
    """Returns a number of bytes as `1.8 MB` (10⁶ bytes)."""
    return NOT_MEASURED if value is None else f"{value / 1e6:,.1f} MB"


def memory(value: int) -> str:
    """Returns a number of bytes as `1.8 GB` (10⁹ bytes); large numbers, of any length, in words.

    Example:
        >>> [memory(value) for value in (24_700_000_000, 10**400)]
        ['24.7 GB', 'more than 1,000,000,000 GB']
    """
    return f"{value / 1e9:,.1f} GB" if value < 10**18 else "more than 1,000,000,000 GB"


def duration(seconds: float) -> str:
    """Returns `0.4 s`, `12 s`, `3:05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def _finite(ends: tuple[float, float]) -> bool:
    return all(map(math.isfinite, ends))
