"""The likeliest choice is found, and every bad line of a file is refused with its place."""

import gzip
import json
import math
import re
import subprocess
from pathlib import Path

import numpy as np
import pydantic
import pytest

from modules.common.errors import InputError
from modules.data.prompt_templates import TEMPLATES
from modules.evaluation.multiple_choice import MultipleChoiceSettings, Question, joined, measure, read_questions

HELLASWAG = {"ctx": "A man sits on a roof. He", "endings": ["starts pulling up roofing.", "sings."], "label": 1}
GENERAL = {"prompt": "The capital of France is", "choices": ["Paris", "Rome", "Berlin"], "answer": 0}


def write(folder: Path, *rows: object) -> Path:
    """Writes rows as JSON, and strings unchanged."""
    path = folder / "questions.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_lines_of_both_shapes_are_read(tmp_path):
    path = write(tmp_path, {**HELLASWAG, "activity_label": "Roof"}, GENERAL, "", {**HELLASWAG, "label": "0"})
    expected = [
        Question("A man sits on a roof. He", ["starts pulling up roofing.", "sings."], 1),
        Question("The capital of France is", ["Paris", "Rome", "Berlin"], 0),
        Question("A man sits on a roof. He", ["starts pulling up roofing.", "sings."], 0),
    ]
    assert read_questions(path) == expected
    packed = tmp_path / "questions.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_questions(packed) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ("[1, 2]", "line 2: each line of a .jsonl file must be a JSON object"),
        ({"question": "Why?"}, "line 2: a question has `ctx`, `endings` and `label`, or .* Received: question."),
        ({"ctx": "a", "label": 0}, "line 2: `endings` must be a list of at least 2 texts. Received: None."),
        ({**HELLASWAG, "endings": ["one"]}, r"`endings` must be a list of at least 2 texts. Received: \['one'\]."),
        ({**HELLASWAG, "endings": "ab"}, "line 2: `endings` must be a list of at least 2 texts. Received: 'ab'."),
        ({**HELLASWAG, "endings": ["a", 7]}, "line 2: 'endings' must be a string. Received: 7."),
        ({**HELLASWAG, "endings": ["a", " "]}, "line 2: `endings` must be different texts, none of them empty."),
        ({**GENERAL, "choices": ["a", "b", "a"]}, "line 2: `choices` must be different texts, none of them empty."),
        ({**GENERAL, "choices": ["a", "\ud800"]}, "line 2: 'choices' must be text that UTF-8 can hold."),
        ({**HELLASWAG, "label": 2}, "`label` must be the number of the right choice, from 0 to 1. Received: 2."),
        ({**HELLASWAG, "label": -1}, "from 0 to 1. Received: -1."),
        ({**HELLASWAG, "label": "-1"}, "from 0 to 1. Received: '-1'."),
        ({**HELLASWAG, "label": ""}, "from 0 to 1. Received: ''."),
        ({**HELLASWAG, "label": "9" * 5000}, "from 0 to 1. Received: 999999999."),
        ({**GENERAL, "answer": True}, "line 2: `answer` must be .* from 0 to 2. Received: True."),
        ({**GENERAL, "answer": 1.0}, "from 0 to 2. Received: 1.0."),
        ({**GENERAL, "answer": "Paris"}, "from 0 to 2. Received: 'Paris'."),
        ({"prompt": "a", "choices": ["a", "b"]}, "line 2: `answer` must be .* Received: None."),
        ({**GENERAL, "prompt": None}, "line 2: 'prompt' must be a string. Received: null."),
    ],
)  # fmt: skip
def test_a_bad_line_is_refused_with_its_number_and_the_rule(tmp_path, line, message):
    with pytest.raises(InputError, match=message):
        read_questions(write(tmp_path, GENERAL, line))


def test_a_bad_file_is_refused_with_its_name_or_the_rule(tmp_path):
    with pytest.raises(InputError, match="holds no question"):
        read_questions(write(tmp_path, "", " "))
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/missing.jsonl cannot be read: No such file")):
        read_questions(tmp_path / "missing.jsonl")
    with pytest.raises(InputError, match=r"read from \.jsonl files, one question per line"):
        read_questions(tmp_path / "questions.csv")


def test_a_file_in_another_encoding_is_converted_by_the_proposed_command(tmp_path):
    path = write(tmp_path, {**GENERAL, "prompt": "Größe"})
    path.write_bytes(json.dumps({**GENERAL, "prompt": "Größe"}, ensure_ascii=False).encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8: line 1") as caught:
        read_questions(path)
    [command] = re.findall("`(iconv .*?)`", str(caught.value))
    subprocess.run(["bash", "-c", command], check=True)
    assert read_questions(path)[0].prompt == "Größe"


@pytest.mark.parametrize(
    ("prompt", "choice", "seen"),
    [
        ("The sky is", "blue", ("The sky is", " blue")),
        ("The sky is ", "blue", ("The sky is", " blue")),
        ("The sky is", " blue", ("The sky is", " blue")),
        ("The sky is:\n", "blue", ("The sky is:", "\nblue")),
        ("The sky is\n", " blue", ("The sky is", "\n blue")),
        ("", "blue", ("", "blue")),
    ],
)
def test_the_space_between_prompt_and_choice_goes_to_the_completion(prompt, choice, seen):
    assert joined(prompt, choice, None) == seen


def test_a_model_of_instructions_sees_the_prompt_in_its_template():
    assert joined("Sky?", "blue", TEMPLATES["chat"]) == ("User:\nSky?\n\nAssistant:\n", "blue")


def settings(**values) -> MultipleChoiceSettings:
    return MultipleChoiceSettings(**{"kind": "multiple_choice", "name": "toy", "file": "toy.jsonl", **values})


def nats(**of_choice: float):
    """Returns a model that gives each choice the number of nats in the arguments."""
    return lambda prompts, completions: np.array([of_choice[completion.strip()] for completion in completions])


QUESTIONS = [
    Question("1", ["ab", "cdefghij"], 0),
    Question("2", ["kl", "mnopqrst"], 1),
    Question("3", ["u", "v", "w", "x"], 3),
]


def test_accuracy_is_computed_by_nats_and_by_nats_per_byte():
    # Nats:          2 < 4     right       3 < 4      wrong          1 is least     right
    # Nats per byte: 1 > 0.5   wrong       1.5 > 0.5  right                         right
    model = nats(ab=2, cdefghij=4, kl=3, mnopqrst=4, u=4, v=3, w=2, x=1)
    found = measure(settings(), QUESTIONS, template=None, nll=model)
    assert (found.correct, found.correct_bytes, found.questions) == (2, 2, 3)
    assert found.chance == pytest.approx((1 / 2 + 1 / 2 + 1 / 4) / 3)
    assert measure(settings(), QUESTIONS[:1], template=None, nll=model).accuracy == 0.0
    assert measure(settings(normalise="none"), QUESTIONS[:1], template=None, nll=model).accuracy == 1.0
    figures = found.as_dict()
    assert figures["accuracy"] == figures["accuracy_bytes"] == pytest.approx(2 / 3)
    assert figures["accuracy_interval"] == pytest.approx((0.2077, 0.9385), abs=1e-4)


def test_only_the_utf8_bytes_of_the_choice_itself_count():
    # "é" has 2 bytes, so 3 nats are 1.5 per byte. The space between prompt and choice does not count.
    found = measure(settings(), [Question("x", ["é", "abc"], 0)], template=None, nll=nats(é=3, abc=4.6))
    assert found.correct_bytes == 1
    found = measure(settings(), [Question("x", ["é", "abc"], 0)], template=None, nll=nats(é=3, abc=4.4))
    assert found.correct_bytes == 0


def test_a_tie_counts_as_wrong():
    found = measure(settings(), QUESTIONS[2:], template=None, nll=lambda prompts, completions: np.ones(len(prompts)))
    assert found.accuracy == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_fails_the_gate(bad):
    model = nats(ab=2, cdefghij=bad, kl=3, mnopqrst=4, u=4, v=3, w=2, x=1)
    found = measure(settings(min_accuracy=0), QUESTIONS, template=None, nll=model)
    assert found.unscored == 1
    assert math.isnan(found.accuracy)
    assert [check.passed for check in found.checks()] == [False]
    assert found.as_dict()["accuracy"] is found.as_dict()["accuracy_bytes_interval"] is None


def test_an_accuracy_below_the_limit_fails_the_gate():
    model = nats(ab=2, cdefghij=40, kl=30, mnopqrst=4, u=4, v=3, w=2, x=9)
    assert measure(settings(), QUESTIONS, template=None, nll=model).checks() == []
    (check,) = measure(settings(min_accuracy=0.7), QUESTIONS, template=None, nll=model).checks()
    assert not check.passed
    assert check.sentence == "accuracy in toy: 66.67% is below 70% (evaluation.tasks, toy: min_accuracy)"
    (check,) = measure(settings(min_accuracy=0.6), QUESTIONS, template=None, nll=model).checks()
    assert check.passed


def test_a_name_that_is_not_valid_in_ml_metadata_is_refused():
    with pytest.raises(pydantic.ValidationError, match="name"):
        settings(name="My task")
