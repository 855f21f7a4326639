"""Numbers and foreign text as a report shows them, in HTML and in Markdown."""

import math
import re

from modules.common import visible_text
from modules.evaluation import gates

NOT_MEASURED = "not measured"
_LINE_ENDS = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
# What Markdown (CommonMark, with GitHub's tables, strikethrough, autolinks, math and emoji) could act on.
_MARKDOWN = re.compile(r"[\\`*_\[\]|~$@]|:(?=\S)|(?<=www)\.|^[#=]|^-(?=[\s-]|$)|^\+(?=\s|$)", re.IGNORECASE)
_LIST_NUMBER = re.compile(r"^(\d+)([.)])(?=\s|$)")


class MarkdownText(str):
    """Text that is Markdown already, and so is not escaped again."""

    __slots__ = ()


def number(value: float | None) -> str:
    """`151.8`, or words where there is none, or none that is finite."""
    return NOT_MEASURED if value is None or not math.isfinite(value) else gates.number(value).replace("-", "−")


def count(value: int | None) -> str:
    """`13,312,296`, or words where there is none."""
    return "not counted" if value is None else f"{value:,}"


def interval(ends: tuple[float, float] | None) -> str:
    """`149.1 to 154.6`, or nothing."""
    return f"{number(ends[0])} to {number(ends[1])}" if ends and all(map(math.isfinite, ends)) else ""


def share(value: float | None) -> str:
    """`31.2%`."""
    return NOT_MEASURED if value is None or not math.isfinite(value) else f"{value:.1%}"


def change(value: float | None) -> str:
    """A relative change with its sign: `+3.0%`, `−80.9%`, `+0.04%`."""
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    digits = 1 if abs(value) >= 0.001 or value == 0 else 3
    return f"{value:+.{digits}%}".replace("-", "−")


def change_interval(ends: tuple[float, float] | None) -> str:
    """`−81.5% to −80.1%`, or nothing."""
    return f"{change(ends[0])} to {change(ends[1])}" if ends and all(map(math.isfinite, ends)) else ""


def size(value: int | None) -> str:
    """Bytes as `1.8 MB`."""
    return NOT_MEASURED if value is None else f"{value / 1e6:,.1f} MB"


def visible(text: str) -> str:
    """Returns foreign text with every line end as a line feed, and its hidden characters as `visible_text` has them."""
    return visible_text.visible(_LINE_ENDS.sub("\n", text))


def markdown(text: str) -> MarkdownText:
    """Escapes text for one line of Markdown: a paragraph, a list item or the cell of a table.

    `"a|b <script>"` becomes `"a\\|b &lt;script&gt;"`; line feeds are shown as ⏎, other runs of white space as a space.
    """
    line = " ".join(visible(text).replace("\n", " ⏎ ").split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _MARKDOWN.sub(lambda match: f"\\{match.group()}", line)
    return MarkdownText(_LIST_NUMBER.sub(r"\1\\\2", line))


def code_block(text: str) -> MarkdownText:
    """A fenced block of Markdown, whose fence is longer than any run of backticks in the text."""
    shown = visible(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return MarkdownText(f"{fence}text\n{shown}\n{fence}")
