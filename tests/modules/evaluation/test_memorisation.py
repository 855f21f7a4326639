"""What a model says is found in train wherever it stands, and nothing else is."""

import math
from pathlib import Path

import pydantic
import pytest

from modules.evaluation.gates import Check
from modules.evaluation.memorisation import MemorisationSettings, VerbatimRuns, measure
from tests.toys.examples import write_documents


def numbered(first: int, last: int) -> str:
    """`word3 word4 word5` for 3 and 5: texts whose overlap can be counted."""
    return " ".join(f"word{number}" for number in range(first, last + 1))


def longest(text: str, *train: str) -> tuple[int, str] | None:
    """Length and text of the longest run."""
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
def test_a_run_ends_where_train_goes_on_differently(length):
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


def test_four_words_are_nobodys():
    assert longest("for more information see", "for more information see the manual") is None
    assert longest("", "anything at all") is None
    assert longest(numbered(1, 20)) is None


def test_a_loop_is_as_long_as_one_round_of_it():
    loop = "import numpy as np\n>>> " * 10
    assert longest(loop, loop)[0] == 5  # import numpy, numpy as, as np, np import
    assert longest("0, 0, 0, 0, " * 9, "[0, 0, 0, 0, 0, 0, 0, 0, 0]") is None
    # Where the text goes on, it counts in full.
    assert longest(f"no no no no no {numbered(1, 9)}", f"no no no no no {numbered(1, 9)}")[0] == 11


def test_scripts_without_spaces_have_a_word_a_character():
    assert longest("他说床前明月光疑是", "床前明月光,疑是地上霜") == (7, "床前明月光疑是")


def recite(*documents: str):
    """A model that knows some documents by heart, and makes up words otherwise."""

    def generate(prompts, sampling):
        texts = []
        for prompt in prompts:
            known = [text for text in documents if text.startswith(prompt)]
            rest = known[0][len(prompt) :] if known else numbered(9001, 9000 + sampling.max_new_tokens)
            texts.append(" ".join(rest.split(" ")[: sampling.max_new_tokens + 1]))
        return texts

    return generate


def settings(**values) -> MemorisationSettings:
    return MemorisationSettings(**{"prompts": 8, "prompt_words": 3, "run_words": 10, "max_new_tokens": 16, **values})


DOCUMENTS = [numbered(100 * number, 100 * number + 50) for number in range(1, 5)]


@pytest.fixture
def train(tmp_path: Path) -> list[str]:
    """Four documents of 51 words, and one that is too short to be recited."""
    return [write_documents(tmp_path / "train.gz", *({"text": [text]} for text in [*DOCUMENTS, numbered(1, 12)]))]


def test_who_knows_one_document_of_four_recites_a_quarter(train):
    found = measure(settings(max_share=0.2), train, data_kind="text", generate=recite(DOCUMENTS[2]))
    assert (found.recited, found.share) == (1, 0.25)
    assert sorted(row.prompt for row in found.continuations) == [text[:23] for text in DOCUMENTS]
    told = found.as_dict()
    assert told["longest"] == {"words": 16, "text": numbered(303, 318), "source": "book.txt"}
    assert told["share_interval"] == pytest.approx((0.0456, 0.6994), abs=1e-4)
    assert [row["run"] and row["run"]["words"] for row in told["continuations"]] == [16, None, None, None]
    (check,) = found.checks()
    assert not check.passed
    assert check.sentence == (
        "share of continuations with 10 words in a row from train: 25% is above 20% (evaluation.memorisation.max_share)"
    )


def test_what_another_document_says_counts_too(train):
    found = measure(
        settings(), train, data_kind="text", generate=lambda prompts, _: [numbered(400, 411)] * len(prompts)
    )
    assert found.share == 1.0
    assert found.checks() == []  # no gate was asked for


def test_the_prompt_does_not_count(train):
    found = measure(settings(prompt_words=20), train, data_kind="text", generate=lambda prompts, _: ["no " * 40] * 4)
    assert found.share == 0.0


@pytest.mark.parametrize("long_ones", [0, 1])
def test_continuations_too_short_to_recite_do_not_pass_in_silence(train, long_ones):
    said = [numbered(101, 140)] * long_ones + [numbered(101, 109)] * (4 - long_ones)
    found = measure(settings(max_share=1), train, data_kind="text", generate=lambda prompts, _: said)
    assert math.isnan(found.share)
    (check,) = found.checks()
    assert not check.passed
    assert check.sentence == (
        "share of continuations with 10 words in a row from train: not measured (evaluation.memorisation.max_share: "
        "half of the continuations must have 10 words, lower run_words or raise max_new_tokens)"
    )
    assert found.as_dict()["share"] is found.as_dict()["share_interval"] is None


def test_a_model_that_sometimes_ends_early_is_measured(train):
    said = [numbered(101, 140), numbered(101, 140), "", "The end."]
    found = measure(settings(), train, data_kind="text", generate=lambda prompts, _: said)
    # What ended early could not have been recited, and does not count.
    assert (found.share, found.long_enough) == (1.0, 2)


def test_a_corpus_of_short_documents_does_not_pass_in_silence(train):
    found = measure(settings(max_share=1, prompt_words=60), train, data_kind="text", generate=recite())
    assert found.continuations == []
    assert [check.passed for check in found.checks()] == [False]
    assert found.as_dict()["longest"] is None


def test_of_instructions_completions_are_recited(tmp_path):
    prompt, answer = "### Instruction:\nCount.\n\n### Response:\n", numbered(1, 30)
    rows = [
        {"prompt": [prompt, "More."], "completion": [answer, numbered(31, 45)]},
        {"prompt": ["?"], "completion": ["No."]},
    ]
    train = [write_documents(tmp_path / "train.gz", *rows)]

    def run(said: str):
        found = measure(settings(), train, data_kind="instruction", generate=lambda prompts, _: [said] * len(prompts))
        assert [row.prompt for row in found.continuations] == [prompt]
        return found.continuations[0].run

    assert run(numbered(3, 14)) == (12, numbered(3, 14), "book.txt")
    assert run(numbered(31, 45)).words == 15  # of the second turn
    assert run(numbered(26, 35)).words == 5  # runs end with a completion


def test_a_gate_without_prompts_is_refused():
    with pytest.raises(pydantic.ValidationError, match="`max_share` cannot be measured without `prompts`"):
        MemorisationSettings(prompts=0, max_share=0.1)


def test_the_gate_passes_at_its_limit(train):
    found = measure(settings(max_share=0.25), train, data_kind="text", generate=recite(DOCUMENTS[0]))
    (check,) = found.checks()
    assert isinstance(check, Check)
    assert check.passed
