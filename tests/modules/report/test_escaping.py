from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from modules.report import escaping

RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# Characters with a meaning in Markdown and HTML are far more frequent than in real texts.
NASTY = st.text(st.one_of(st.sampled_from("|`\\<>&*_[]()#+-=~!:.@$\n\r\t 1a\u202e\x1b"), st.characters()))


class _Parsed(HTMLParser):
    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def one_line(text: str) -> str:
    return " ".join(escaping.visible(text).replace("\n", " ⏎ ").split())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("\x1b[31m red", "\\x1b[31m red"),
        ("abc\u202edef", "abc\\u202edef"),  # would show as abcfed
        ("שלום 👩‍👩‍👧 tab\t.", "שלום 👩‍👩‍👧 tab\t."),
        ("\ud800\uffff", "\\ud800\\uffff"),
    ],
)
def test_hidden_characters_are_escaped(text: str, shown: str) -> None:
    assert escaping.visible(text) == shown


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a|b `c`\nd", "a\\|b \\`c\\` ⏎ d"),
        ("evaluation.max_perplexity: 2.5", "evaluation.max\\_perplexity: 2.5"),
        ("1. no list", "1\\. no list"),
        ("# no heading", "\\# no heading"),
        ("- no item", "\\- no item"),
        # Markup of GitHub: addresses, mentions, emoji, mathematics.
        ("https://a.b www.a.b me@a.b :smile: $x$", "https\\://a.b www\\.a.b me\\@a.b \\:smile: \\$x\\$"),
    ],
)
def test_markup_in_a_line_is_escaped(text: str, escaped: str) -> None:
    assert escaping.markdown(text) == escaped


@given(NASTY)
@example("\\|")
@example("x" * 5000 + "|" * 50)
def test_any_text_stays_text_in_a_paragraph_and_in_a_cell(text: str) -> None:
    line = one_line(text)
    paragraph = _Parsed(RENDERER.render(f"{escaping.markdown(text)}\n"))
    assert (paragraph.tags, paragraph.text.rstrip("\n")) == (["p"] if line else [], line)
    table = _Parsed(RENDERER.render(f"| a | b |\n|---|---|\n| {escaping.markdown(text)} | end |\n"))
    assert table.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert [cell for cell in table.text.split("\n") if cell] == ["a", "b", *([line] if line else []), "end"]


@given(NASTY)
@example("```\n<script>\n````")
def test_any_text_stays_text_in_a_block(text: str) -> None:
    block = _Parsed(RENDERER.render(f"before\n\n{escaping.code_block(text)}\n\nafter\n"))
    assert block.tags == ["p", "pre", "code", "p"]
    assert block.text == f"before\n{escaping.visible(text)}\n\nafter\n"
