"""Texts of numbered words, whose overlap can be counted."""


def numbered(first: int, last: int) -> str:
    """Returns the words of a range: `word3 word4 word5` for 3 and 5."""
    return " ".join(f"word{number}" for number in range(first, last + 1))
