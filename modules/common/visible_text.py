r"""Foreign text with what cannot be seen written out, for terminals, logs and pages.

A document, a prompt, a generated text or a file's name may hold characters that a terminal obeys rather than shows:
`\x1b]0;title\x07` renames its window, `\r` overwrites the line, U+202E shows a line in an order in which it is not.
"""

import re
import unicodedata

# Controls, unassigned characters and surrogates, which may not be encoded; separators of lines and paragraphs; and the
# format characters, of which all but those below are invisible and deceive: bidirectional controls, zero-width spaces,
# tags, which can hold a hidden message.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Of the format characters, those that a text needs: the joiners U+200C and U+200D form the letters of Arabic and of
# Indic scripts and the emoji of families, and the soft hyphen U+00AD, the marks of numbers in Arabic and Syriac and
# the controls of hieroglyphs are shown, or say where a word may be divided.
_SCRIPTS = re.compile(r"[\u00ad\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u200c\u200d\U000110bd\U000110cd\U00013430-\U0001343f]")
# Not allowed in XML, and so not in SVG.
_NO_CHARACTERS = frozenset("\ufffe\uffff")
