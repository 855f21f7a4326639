"""Texts that tokenizers often get wrong."""

import random

HARD_TEXTS = [
    "",
    " ",
    "\n",
    "a\n\nb",
    "a \n\n  b",
    "  a",
    "a  ",
    "\t\ta",
    "\r\n\r\nx",
    "a\xa0b",
    "a\xa0\xa0b",
    "\u2003\u2003\u3000x\u3000",
    "\x85a\x85\x85 b",
    "\x1c\x1da",
    "I'm you're we've he'll I'd it's don't 'S 'M x'll'lls",
    " 's  's\n's",
    "12٣Ⅷ½ 3rd 1a2b",
    "!?… --- <|endoftext|> <|endoftext|",
    "🧑‍🚀👩‍👩‍👧‍👦 🏳️‍🌈",
    "中文字符 日本語 한국어",
    "e\u0301 naïve \u0301x",
    "\ufeffBOM",
    "\x00\x01\x7f\x00",
    "\ufffe\uffff\U0010ffff",
    "\U0001f1e9\U0001f1ea\U00013460\U00010d40\U0002ebf0",
    "a" * 1000 + "b" * 999,
    "ab" * 500 + "aaa" * 333,
    " " * 1000 + "x" + "\n" * 777,
]
_AWKWARD = [
    *"  \n\t\r\x1c\x85\xa0\u2003\u3000'sdtmrevl019ab'S.,é٣Ⅷ한中の\u0301\x00\x7f\u0640\ufeff",
    *("\n\n\n", "   ", "\r\n\r\n", "\xa0\xa0", "'ll", "'re ", "can't", "<|endoftext|>", "السلام", "漢字かな", "the "),
    *("🧑\u200d🚀", "👩\u200d👩\u200d👧", "\ufe0f", "🏳\ufe0f\u200d🌈", "\u200d"),
    # Letters and numbers of Unicode 15.1 and 16, which some libraries do not know.
    *map(chr, (0x1C89, 0xA7CB, 0x105C0, 0x10D40, 0x10D4A, 0x11BF0, 0x13460, 0x143FA, 0x1CCF0, 0x1E5F0, 0x2EBF0)),
]


def random_texts(number: int) -> list[str]:
    """Returns texts of up to 40 awkward pieces and characters of every Unicode plane; always the same texts."""
    generator = random.Random(7)
    return ["".join(_random_piece(generator) for _ in range(generator.randrange(40))) for _ in range(number)]


def _random_piece(generator: random.Random) -> str:
    if generator.random() < 0.7:
        return generator.choice(_AWKWARD)
    plane = generator.choice((0, 0, 0, 1, 1, 2, 3, generator.randrange(17)))
    code_point = plane * 0x10000 + generator.randrange(0x10000)
    return "" if 0xD800 <= code_point < 0xE000 else chr(code_point)
