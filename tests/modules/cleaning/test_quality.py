"""Each cleaner finds planted faults, and drops no look-alikes, at least as well as it did before."""

import re

import pytest

from modules.cleaning.near_duplicates import WORDS
from modules.cleaning.secrets import find_secrets
from modules.cleaning.word_ngrams import ngram_hashes, word_hashes
from modules.data import docstrings
from tests.toys import cleaning_quality, planted_faults

# Recall and precision as they were measured; none may become lower.
FLOORS = {
    "exact duplicates": (1.0, 1.0),
    "near duplicates": (0.991, 0.995),
    "leaks": (0.666, 1.0),
    "secrets": (0.975, 1.0),
    "languages": (0.934, 1.0),
    "broken encodings": (0.979, 1.0),
}


@pytest.fixture(scope="module")
def measured():
    return cleaning_quality.measure()


@pytest.mark.parametrize("cleaner", FLOORS)
def test_no_cleaner_becomes_worse(measured, cleaner):
    recall, precision = FLOORS[cleaner]
    counts = cleaning_quality.by_cleaner(measured)[cleaner]
    assert counts.recall >= recall
    assert counts.precision >= precision


def test_the_page_shows_what_was_measured(measured):
    assert set(FLOORS) == set(cleaning_quality.by_cleaner(measured))
    page = cleaning_quality.PAGE.read_text(encoding="utf-8")
    assert cleaning_quality.tables(measured) == cleaning_quality.shown_tables(page), (
        "Run `python -m tests.toys.cleaning_quality`, which writes the tables, and look at what has changed."
    )


def test_near_duplicates_have_the_similarity_that_their_kind_names():
    for planted in planted_faults.near_duplicates():
        first, second = (set(ngram_hashes(word_hashes(text), WORDS).tolist()) for text in planted[-2:])
        (named,) = re.findall(r"\((\d\.\d\d)\)", planted.kind)
        assert f"{len(first & second) / len(first | second):.2f}" == named
        assert planted.is_fault == (float(named) >= 0.8)


def test_pythons_help_topics_hold_no_secret():
    topics = list(docstrings.collect((docstrings.TOPICS,)))
    assert len(topics) > 50
    assert not [secret for topic in topics for secret in find_secrets(topic.text)]
