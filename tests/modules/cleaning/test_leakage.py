"""The overlap of a held-out document is the share of it that the train split also contains."""

import numpy as np
import pytest

from modules.cleaning.leakage import NGRAM, HeldOutNgrams
from modules.cleaning.word_ngrams import ngram_hashes, word_hashes


def numbered(first: int, last: int) -> str:
    """Returns `word3 word4 word5` for 3 and 5: a text whose overlap with another can be counted."""
    return " ".join(f"word{number}" for number in range(first, last + 1))


def overlap(held_out: str, *train: str) -> float:
    ngrams = HeldOutNgrams.of([held_out])
    for text in train:
        ngrams.mark(text)
    return ngrams.overlap(held_out)


def test_a_copy_with_added_paragraphs_has_an_overlap_of_1():
    assert overlap(numbered(1, 40), "Preface.\n\n" + numbered(1, 40) + "\n\nAnd another paragraph.") == 1.0


def test_half_a_copy_has_an_overlap_of_a_half():
    # 112 words have 100 runs of 13 words; the first 62 words have 50.
    assert overlap(numbered(1, 112), numbered(1, 62)) == 0.5
    assert overlap(numbered(1, 112), numbered(1, 62), numbered(51, 112)) == 1.0


def test_fewer_than_thirteen_words_in_common_are_no_overlap():
    assert NGRAM == 13
    assert overlap(numbered(1, 40), numbered(1, 12), "other words " + numbered(5, 16)) == 0.0
    assert overlap(numbered(1, 40), numbered(1, 13)) == pytest.approx(1 / 28)
    assert overlap("Ay, my good lord.", "Ay, my good lord.") == 0.0


def test_case_and_punctuation_do_not_change_the_overlap():
    assert overlap(numbered(1, 20), numbered(1, 20).upper().replace(" ", ",\n")) == 1.0


def test_a_text_that_was_not_held_out_has_no_marks():
    ngrams = HeldOutNgrams.of([numbered(1, 40)])
    ngrams.mark(numbered(1, 90))
    assert ngrams.overlap(numbered(41, 90)) == 0.0


def test_texts_that_are_too_short_have_no_marks():
    ngrams = HeldOutNgrams.of(["", "short"])
    ngrams.mark(numbered(1, 40))
    assert ngrams.marks.tolist() == []


def test_marks_of_two_workers_are_combined():
    held_out = [numbered(1, 112)]
    first = HeldOutNgrams.of(held_out)
    second = HeldOutNgrams(first.hashes)
    first.mark(numbered(1, 37))  # 25 runs
    second.mark(numbered(88, 112))  # 13 runs
    assert (first.overlap(held_out[0]), second.overlap(held_out[0])) == (0.25, 0.13)
    first.marks |= second.marks
    assert first.overlap(held_out[0]) == 0.38


def test_hashes_are_sorted_and_unique():
    ngrams = HeldOutNgrams.of([numbered(1, 20), numbered(1, 20), numbered(15, 30)])
    assert ngrams.hashes.dtype == np.uint64
    assert ngrams.hashes.tolist() == sorted(set(ngrams.hashes.tolist()))
    assert len(ngrams.hashes) == 8 + 4


def test_marks_agree_with_sets_of_hashes():
    held_out = [numbered(start, start + 30) for start in range(0, 5000, 25)]
    train = [numbered(start, start + 14) for start in range(0, 6000, 17)]
    ngrams = HeldOutNgrams.of(held_out)
    for text in train:
        ngrams.mark(text)
    seen = {value for text in train for value in ngram_hashes(word_hashes(text), NGRAM).tolist()}
    assert ngrams.marks.tolist() == [value in seen for value in ngrams.hashes.tolist()]
    assert 0 < ngrams.marks.sum() < len(ngrams.marks)
