"""Foreign text as a report shows it, in HTML and in Markdown."""

import re

from modules.common import visible_text

_LINE_ENDS = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
# What Markdown (CommonMark, with GitHub's tables, strikethrough, autolinks, math and emoji) could act on.
_MARKDOWN = re.compile(r"[\\`*_\[\]|~$@]|:(?=\S)|(?<=www)\.|^[#=]|^-(?=[\s-]|$)|^\+(?=\s|$)", re.IGNORECASE)
_LIST_NUMBER = re.compile(r"^(\d+)([.)])(?=\s|$)")


class MarkdownText(str):
    """Text that is Markdown already, and so is not escaped again."""

    __slots__ = ()


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
