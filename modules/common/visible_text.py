r"""Escaping of hidden characters in foreign text, for terminals and pages.

A document, a prompt, a generated text or the name of a file may contain characters that a terminal obeys and does not
show: `\x1b]0;title\x07` renames its window, `\r` overwrites the line, U+202E reverses the text after it.
"""

import re
import unicodedata

# Control and format characters (bidirectional controls, zero-width spaces, tags), lone surrogates, which cannot be
# encoded, and the separators of lines and paragraphs.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NO_CHARACTERS = frozenset("\ufffe\uffff")  # not allowed in XML, and so not in SVG
# Format characters that text needs. The joiners U+200C and U+200D shape the letters of Arabic and Indic scripts and
# join emoji. The other characters are visible signs, such as the Arabic number sign, or combine hieroglyphs.
_NEEDED = re.compile(
    "[\u200c\u200d\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f]"
)


def visible(text: str, keep: str = "\n\t") -> str:
    r"""Returns the text with an escape for every character that is hidden or reorders other characters.

    ```
    "\x1b[31mred"     "\\x1b[31mred"
    "abc\u202edef"    "abc\\u202edef"    a terminal would show abcfed
    "a\rb\n"          "a\\x0db\n"
    ```

    `visible` does not change its own result. Joiners that scripts and emoji need are kept.

    Args:
        text: Any text.
        keep: Hidden characters that are kept.
    """
    if text.isprintable():  # most texts have no hidden character
        return text
    return "".join(character if character in keep else _visible_character(character) for character in text)


def _visible_character(character: str) -> str:
    hidden = character in _NO_CHARACTERS or unicodedata.category(character) in _HIDDEN_CATEGORIES
    if not hidden or _NEEDED.match(character):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
