"""What StatisticsGen can count of a text that is too long to be a category itself."""

import itertools
import re

SAMPLE_WORDS = 64

# As GPT-2's pattern, as near as Python's own expressions come to it: a statistic need not be exact.
_WORD = re.compile(r" ?[^\W\d_]+| ?\d+| ?[^\s\w]+| ?_+")


def word_sample(text: str) -> list[str]:
    """The text's first words, numbers and runs of marks, at most `SAMPLE_WORDS`, without the space before them.

    `"It was 1984, again."  ->  ["It", "was", "1984", ",", "again", "."]`
    """
    return [match.group().lstrip(" ") for match in itertools.islice(_WORD.finditer(text), SAMPLE_WORDS)]
