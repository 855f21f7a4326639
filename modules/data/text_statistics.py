"""What StatisticsGen can count of a text that is too long to be a category itself."""

import itertools
import re

SAMPLE_WORDS = 32

# As GPT-2's pattern, as near as Python's own expressions come to it: a statistic need not be exact.
_WORD = re.compile(r" ?[^\W\d_]+| ?\d+| ?[^\s\w]+| ?_+")


def length_bucket(characters: int) -> str:
    """The range from one power of two to the next that holds a length: 300 gives `"256-511"`.

    Lengths of documents spread over several magnitudes; a histogram of equal widths would show the longest only.
    """
    start = 1 << max(characters.bit_length() - 1, 0)
    return f"{start}-{2 * start - 1}"


def word_sample(text: str) -> list[str]:
    """The text's first words, numbers and runs of marks, at most `SAMPLE_WORDS`, without the space before them.

    `"It was 1984, again."  ->  ["It", "was", "1984", ",", "again", "."]`
    """
    return [match.group().lstrip(" ") for match in itertools.islice(_WORD.finditer(text), SAMPLE_WORDS)]
