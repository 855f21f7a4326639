"""Texts of words that can be told apart and counted."""


def numbered(first: int, last: int) -> str:
    """`word3 word4 word5` for 3 and 5: texts whose overlap can be counted."""
    return " ".join(f"word{number}" for number in range(first, last + 1))
