"""ROUGE-L and BLEU equal the values that are computed by hand."""

import math
from pathlib import Path

import pytest

from modules.evaluation.answers import Answer, AnswersSettings, bleu, measure, rouge_l
from tests.toys.examples import write_documents


def test_rouge_l_equals_the_value_by_hand():
    # 3 words of 6 in common, in order: precision 1, recall 1/2, F = 2 · 1 · ½ / (1 + ½).
    assert rouge_l(["the cat sat on the mat"], ["The cat sat."]) == pytest.approx(2 / 3)
    # The longest common subsequence is "a c" or "a d": recall 2 of 4 and precision 2 of 3.
    assert rouge_l(["a b c d"], ["a d c"]) == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    # It is the mean over texts, and not over words.
    assert rouge_l(["the cat sat on the mat", "yes"], ["the cat sat", "no"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("text", ["Привет, мир", "你好世界", "Größe zählt"])
def test_rouge_l_finds_words_in_all_scripts(text):
    assert rouge_l([text], [text]) == 1.0
    assert rouge_l([text], ["Hello"]) == 0.0


def test_bleu_equals_the_value_by_hand():
    assert bleu(["the cat sat on the mat"], ["the cat sat on the mat"]) == pytest.approx(100)
    # All n-grams are right, but there are only 5 words of 6: only the brevity penalty exp(1 - 6/5) is left.
    assert bleu(["the cat sat on the mat"], ["the cat sat on the"]) == pytest.approx(100 * math.exp(1 - 6 / 5))
    # The n-grams are summed over both texts of the corpus before the precisions are multiplied.
    both = bleu(["a b c d e f", "g h i j"], ["a b c d e f", "g h x j"])
    precisions = (9 / 10) * (6 / 8) * (4 / 6) * (3 / 4)
    assert both == pytest.approx(100 * precisions**0.25)


def test_without_texts_the_measures_are_nan():
    assert math.isnan(rouge_l([], []))
    assert math.isnan(bleu([], []))
    assert rouge_l(["a b"], [""]) == bleu(["a b"], [""]) == 0.0


ROWS = [
    {"prompt": ["Count!", "More!"], "completion": ["one two three four", "five"]},
    {"prompt": ["Sing!"], "completion": ["la la la la"]},
    {"prompt": ["Whisper!", "Now!"], "completion": ["not learned", "one"], "weight": ["0", "1"]},
]


@pytest.fixture
def eval_files(tmp_path: Path) -> list[str]:
    return [write_documents(tmp_path / "eval.gz", *ROWS)]


def settings(**values) -> AnswersSettings:
    return AnswersSettings(kind="answers", **values)


def counting(prompts, sampling):
    """Answers every prompt by counting to four."""
    return ["one two three four"] * len(prompts)


def test_the_first_prompt_of_each_example_is_answered(eval_files):
    found = measure(settings(), eval_files, generate=counting)
    assert sorted(found.answers) == [
        Answer("Count!", "one two three four", "one two three four"),
        Answer("Sing!", "la la la la", "one two three four"),
    ]
    assert found.rouge_l == 0.5
    assert found.bleu == pytest.approx(50)  # 4/8, 3/6, 2/4 and 1/2 of the n-grams
    assert found.as_dict()["answers"][0].keys() == {"prompt", "reference", "text"}
    assert len(measure(settings(rows=1), eval_files, generate=counting).answers) == 1


def test_a_measure_below_its_limit_fails_its_gate(eval_files):
    found = measure(settings(min_rouge_l=0.6, min_bleu=40), eval_files, generate=counting)
    assert [check.passed for check in found.checks()] == [False, True]
    assert found.checks()[0].sentence == (
        "ROUGE-L of answers: 0.5 is below 0.6 (evaluation.tasks, answers: min_rouge_l)"
    )
    assert measure(settings(), eval_files, generate=counting).checks() == []


def test_an_empty_split_fails_the_gates():
    found = measure(settings(min_rouge_l=0, min_bleu=0), [], generate=counting)
    assert [check.passed for check in found.checks()] == [False, False]
    assert found.as_dict()["rouge_l"] is found.as_dict()["bleu"] is None
