import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.common.visible_text import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[31mred\x9b0m", "\\x1b[31mred\\x9b0m"),
        ("over\rwritten\r\n", "over\\x0dwritten\\x0d\n"),
        ("abc\u202edef\u2066", "abc\\u202edef\\u2066"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028paragraph\u2029", "line\\u2028paragraph\\u2029"),
        ("\U000e0041 tag", "\\U000e0041 tag"),
        ("\ud800\uffff", "\\ud800\\uffff"),
        # Characters that scripts and emoji need are kept: joiners, the Arabic number sign, accents, wide spaces.
        ("نمی‌خواهم 👩‍👩‍👧 שלום \u0600١ e\u0301 \u3000x", "نمی‌خواهم 👩‍👩‍👧 שלום \u0600١ e\u0301 \u3000x"),
        ("a\tb\nc", "a\tb\nc"),
        ("C:\\x1b", "C:\\x1b"),
    ],
)
def test_hidden_characters_are_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_callers_choose_the_characters_to_keep() -> None:
    assert visible("a\tb\nc", keep="") == "a\\x09b\\x0ac"


@given(st.text())
def test_escaped_text_has_no_hidden_characters_and_does_not_change_again(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    assert "\\" in shown or shown == text
    hidden = {character for character in shown if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")}
    assert hidden <= {"\n", "\t"}
    shown.encode()
