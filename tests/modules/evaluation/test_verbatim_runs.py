"""Runs of words are found anywhere in the train split, and nothing else is found."""

import pytest

from modules.evaluation.verbatim_runs import VerbatimRuns
from tests.toys.words import numbered


def longest(text: str, *train: str) -> tuple[int, str] | None:
    """Returns the length and the text of the longest run."""
    runs = VerbatimRuns([text])
    for number, document in enumerate(train):
        runs.compare(document, f"document {number}")
    run = runs.longest(0)
    return run and (run.words, run.text)


def test_a_run_is_found_whatever_its_case_and_punctuation():
    said = "He said: friends, Romans, countrymen, lend me your\nhorses!"
    train = "FRIENDS Romans countrymen – lend me your ears"
    assert longest(said, train) == (6, "friends, Romans, countrymen, lend me your")


@pytest.mark.parametrize("length", [5, 6, 13, 40])
def test_a_run_ends_where_the_train_text_differs(length):
    train = f"before {numbered(1, length)} after"
    assert longest(f"other {numbered(1, length)} words", train) == (length, numbered(1, length))


def test_the_longest_run_of_any_document_wins_and_runs_do_not_add_up():
    train = [numbered(1, 8), numbered(9, 20), numbered(21, 30)]
    assert longest(numbered(1, 30), *train) == (12, numbered(9, 20))
    runs = VerbatimRuns([numbered(1, 30), numbered(22, 40)])
    for number, text in enumerate(train):
        runs.compare(text, f"document {number}")
    assert runs.longest(0).source == "document 1"
    assert runs.longest(1) == (9, numbered(22, 30), "document 2")


def test_four_words_are_too_short_for_a_run():
    assert longest("for more information see", "for more information see the manual") is None
    assert longest("", "anything at all") is None
    assert longest(numbered(1, 20)) is None


def test_a_loop_counts_once():
    loop = "import numpy as np\n>>> " * 10
    assert longest(loop, loop)[0] == 5  # import numpy, numpy as, as np, np import
    assert longest("0, 0, 0, 0, " * 9, "[0, 0, 0, 0, 0, 0, 0, 0, 0]") is None
    # New text after the loop counts in full.
    assert longest(f"no no no no no {numbered(1, 9)}", f"no no no no no {numbered(1, 9)}")[0] == 11


def test_every_character_of_a_script_without_spaces_is_a_word():
    assert longest("他说床前明月光疑是", "床前明月光,疑是地上霜") == (7, "床前明月光疑是")
