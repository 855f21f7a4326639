"""Continuations are found anywhere in the train split, and nothing else is found."""

import math
from pathlib import Path

import pydantic
import pytest

from modules.evaluation.gates import Check
from modules.evaluation.memorisation import MemorisationSettings, measure
from tests.toys.examples import write_documents
from tests.toys.words import numbered


def recite(*documents: str):
    """Returns a model that recites some documents, and makes up words after other prompts."""

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


def test_reciting_one_document_of_four_is_a_share_of_a_quarter(train):
    found = measure(settings(max_share=0.2), train, data_kind="text", generate=recite(DOCUMENTS[2]))
    assert (found.recited, found.share) == (1, 0.25)
    assert sorted(row.prompt for row in found.continuations) == [text[:23] for text in DOCUMENTS]
    written = found.as_dict()
    assert written["longest"] == {"words": 16, "text": numbered(303, 318), "source": "book.txt"}
    assert written["share_interval"] == pytest.approx((0.0456, 0.6994), abs=1e-4)
    assert [row["run"] and row["run"]["words"] for row in written["continuations"]] == [16, None, None, None]
    (check,) = found.checks()
    assert not check.passed
    assert check.sentence == (
        "share of continuations with 10 words in a row from train: 25% is above 20% (evaluation.memorisation.max_share)"
    )


def test_text_of_another_train_document_counts_too(train):
    found = measure(
        settings(), train, data_kind="text", generate=lambda prompts, _: [numbered(400, 411)] * len(prompts)
    )
    assert found.share == 1.0
    assert found.checks() == []  # no gate was asked for


def test_text_of_the_prompt_does_not_count(train):
    found = measure(settings(prompt_words=20), train, data_kind="text", generate=lambda prompts, _: ["no " * 40] * 4)
    assert found.share == 0.0


@pytest.mark.parametrize("long_ones", [0, 1])
def test_the_gate_fails_with_a_reason_if_most_continuations_are_too_short(train, long_ones):
    said = [numbered(101, 140)] * long_ones + [numbered(101, 109)] * (4 - long_ones)
    found = measure(settings(max_share=1), train, data_kind="text", generate=lambda prompts, _: said)
    assert math.isnan(found.share)
    (check,) = found.checks()
    assert not check.passed
    assert check.sentence == (
        "share of continuations with 10 words in a row from train: not measured (evaluation.memorisation.max_share: "
        "at least half of the continuations must have 10 words; lower run_words or raise max_new_tokens)"
    )
    assert found.as_dict()["share"] is found.as_dict()["share_interval"] is None


def test_a_model_that_sometimes_ends_early_is_measured(train):
    said = [numbered(101, 140), numbered(101, 140), "", "The end."]
    found = measure(settings(), train, data_kind="text", generate=lambda prompts, _: said)
    # Continuations that ended early cannot be recited, so they do not count.
    assert (found.share, found.long_enough) == (1.0, 2)


def test_the_gate_fails_on_a_corpus_of_short_documents(train):
    found = measure(settings(max_share=1, prompt_words=60), train, data_kind="text", generate=recite())
    assert found.continuations == []
    assert [check.passed for check in found.checks()] == [False]
    assert found.as_dict()["longest"] is None


def test_completions_of_instructions_can_be_recited(tmp_path):
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
    with pytest.raises(
        pydantic.ValidationError,
        match=r"`max_share` needs `prompts` above 0\. Received: 0; raise",
    ):
        MemorisationSettings(prompts=0, max_share=0.1)


def test_the_gate_passes_at_its_limit(train):
    found = measure(settings(max_share=0.25), train, data_kind="text", generate=recite(DOCUMENTS[0]))
    (check,) = found.checks()
    assert isinstance(check, Check)
    assert check.passed
