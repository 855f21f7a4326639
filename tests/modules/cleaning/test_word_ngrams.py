"""Equal words and runs have equal hashes at every place, and different words have different hashes."""

import pydoc_data.topics
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.cleaning import word_ngrams
from modules.cleaning.word_ngrams import ngram_hashes, word_hashes, word_spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat, the hat.", ["the", "cat", "the", "hat"]),
        ("don't  STOP\n\t2nd", ["don", "t", "stop", "2nd"]),
        ("naïve Straße, ΟΔΟΣ", ["naïve", "straße", "οδος"]),
        ("cafe\u0301s हिन्दी", ["cafe\u0301s", "हिन्दी"]),
        ("我喝tea，好。", ["我", "喝", "tea", "好"]),
        ("한국 ひらカタ", ["한", "국", "ひ", "ら", "カ", "タ"]),
        ("snake_case x=1", ["snake", "case", "x", "1"]),
        (" … — \ud800 !", []),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_and_digits(text, words):
    expected = [hash_of(word) for word in words]
    assert word_hashes(text).tolist() == expected


def hash_of(word: str) -> int:
    (only,) = word_hashes(word).tolist()
    return only


def test_words_that_differ_in_order_or_number_of_characters_have_different_hashes():
    words = ["ab", "ba", "a", "aa", "aab", "aba", "baa", "0", "00"]
    assert len({hash_of(word) for word in words}) == len(words)


def test_ngrams_are_runs_of_words():
    a, b, c = word_hashes("a b c")
    assert len(ngram_hashes(word_hashes("a b c"), 2)) == 2
    assert ngram_hashes(word_hashes("a b c"), 2).tolist() == [pair_hash(a, b), pair_hash(b, c)]
    assert pair_hash(a, b) != pair_hash(b, a)
    assert ngram_hashes(word_hashes("a b c"), 4).tolist() == []
    assert ngram_hashes(word_hashes("a b c"), 3).dtype == np.uint64


def pair_hash(first, second) -> int:
    (only,) = ngram_hashes(np.array([first, second]), 2).tolist()
    return only


def test_a_run_of_no_words_is_refused():
    with pytest.raises(ValueError, match=r"`n` must be at least 1 word\. Received: 0\."):
        ngram_hashes(word_hashes("a b c"), 0)


@pytest.mark.parametrize("n", [1, 5, 13])
def test_hashes_agree_with_the_real_tuples_of_words(n):
    """The 66,000 words of Python's documentation have as many different hashes of runs as different runs."""
    words = [word for text in pydoc_data.topics.topics.values() for word in spelled_out(text)]
    runs = list(zip(*(words[place:] for place in range(n)), strict=False))
    hashes = ngram_hashes(word_hashes(" ".join(words)), n).tolist()
    assert len(hashes) == len(runs)
    assert len(set(hashes)) == len(set(runs)) == len(set(zip(hashes, runs, strict=True)))


def spelled_out(text: str) -> list[str]:
    """Returns the words of a text without ideographs; this is slow and simple."""
    marked = (char if char.isalnum() or unicodedata.category(char)[0] == "M" else " " for char in text.lower())
    return "".join(marked).split()


def test_long_texts_are_cut_between_words(monkeypatch):
    text = "To be, or not to be: that is the question.\nWhether 'tis nobler in the mind to suffer"
    whole = word_hashes(text).tolist()
    monkeypatch.setattr(word_ngrams, "_PIECE_CHARACTERS", 10)
    assert word_hashes(text).tolist() == whole


@given(st.text(st.characters(), max_size=40), st.text(st.characters(), max_size=40))
def test_two_joined_texts_have_the_words_of_both(first, second):
    joined = word_hashes(first + " , " + second)
    # Sigma is the only letter whose lower case depends on the next character.
    if "Σ" not in first + second:
        assert joined.tolist() == word_hashes(first).tolist() + word_hashes(second).tolist()


def test_another_process_gives_the_same_hashes():
    code = "from modules.cleaning.word_ngrams import *; print(ngram_hashes(word_hashes('the cat sat'), 2).tolist())"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == str(ngram_hashes(word_hashes("the cat sat"), 2).tolist())
    # Signatures and marks from other machines can only be compared as long as these values do not change.
    assert word_hashes("the cat").tolist() == [5372766136792539701, 5262275986493500806]


def test_spans_are_the_places_of_the_words():
    text = "The cat’s 漢字, Ünïcode!"
    spans = word_spans(text)
    assert [text[start:end] for start, end in spans.tolist()] == ["The", "cat", "s", "漢", "字", "Ünïcode"]
    assert word_spans(" … ").tolist() == word_spans("").tolist() == []


@given(st.text(st.characters(), max_size=60))
def test_every_hash_has_its_span(text):
    hashes = word_hashes(text).tolist()
    spans = word_spans(text).tolist()
    assert len(spans) == len(hashes)
    if "Σ" not in text:
        assert [word_hashes(text[start:end]).tolist() for start, end in spans] == [[value] for value in hashes]
