"""Escaping of foreign text for HTML and Markdown."""

import re

from modules.common import visible_text

_LINE_ENDS = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
# Characters that are markup in Markdown: CommonMark, and GitHub's tables, strikethrough, autolinks, math and emoji.
_MARKDOWN = re.compile(r"[\\`*_\[\]|~$@]|:(?=\S)|(?<=www)\.|^[#=]|^-(?=[\s-]|$)|^\+(?=\s|$)", re.IGNORECASE)
_LIST_NUMBER = re.compile(r"^(\d+)([.)])(?=\s|$)")


class MarkdownText(str):
    """Text that is already Markdown, so it is not escaped again."""

    __slots__ = ()


def visible(text: str) -> str:
    """Returns the text with every line end as a line feed, and hidden characters escaped as in `visible_text`."""
    return visible_text.visible(_LINE_ENDS.sub("\n", text))


def markdown(text: str) -> MarkdownText:
    """Escapes text for one line of Markdown: a paragraph, a list item or the cell of a table.

    `"a|b <script>"` becomes `"a\\|b &lt;script&gt;"`. Line feeds become ⏎; other white space becomes one space.
    """
    line = " ".join(visible(text).replace("\n", " ⏎ ").split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _MARKDOWN.sub(lambda match: f"\\{match.group()}", line)
    return MarkdownText(_LIST_NUMBER.sub(r"\1\\\2", line))


def code_block(text: str) -> MarkdownText:
    """Returns a fenced block of Markdown; its fence is longer than any run of backticks in the text."""
    shown = visible(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return MarkdownText(f"{fence}text\n{shown}\n{fence}")
