"""Tasks measure a SavedModel that has memorised two documents; settings decide what is measured."""

import json
from pathlib import Path

import keras
import numpy as np
import pydantic
import pytest

from modules.common.errors import InputError
from modules.data.prompt_templates import TEMPLATES
from modules.evaluation.tasks import Corpus, TaskSettings, check_tasks, evaluate, fingerprint
from modules.export.saved_model import export_saved_model
from modules.model import gpt2
from modules.tokenization.vocabulary_files import write_table
from tests.toys.examples import write_documents
from tests.toys.release import tiny_vocabulary

LETTERS = np.random.default_rng(3).choice(list("abcdefgijklmnopqrsuvwxyz"), size=[4, 30, 4])
# Four documents of 30 words of 4 random letters, which no model can guess.
DOCUMENTS = [" ".join("".join(word) for word in document) for document in LETTERS]
KNOWN, UNKNOWN = DOCUMENTS[:2], DOCUMENTS[2:]
MODEL = gpt2.ModelSettings(
    preset=None, num_layers=1, num_heads=2, hidden_dim=64, intermediate_dim=None, context_length=192, dropout=0.0
)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the SavedModel of a GPT-2 that was trained on two documents until it memorised them."""
    folder = tmp_path_factory.mktemp("knows_by_heart")
    vocabulary = tiny_vocabulary()
    write_table(vocabulary, folder / "vocabulary.tsv")
    ids = {token: token_id for token_id, token in enumerate(vocabulary.token_bytes())}
    rows = np.array([[vocabulary.end_of_text_id, *(ids[bytes([byte])] for byte in text.encode())] for text in KNOWN])
    keras.utils.set_random_seed(0)
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=vocabulary.size, dtype="float32")
    model = gpt2.language_model(backbone)
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    inputs = {"token_ids": rows[:, :-1], "padding_mask": np.ones_like(rows[:, :-1])}
    history = model.fit(inputs, rows[:, 1:], epochs=120, verbose=0)
    assert history.history["loss"][-1] < 0.1
    export_saved_model(backbone, str(folder / "vocabulary.tsv"), str(folder / "model"))
    return str(folder / "model")


def words(text: str, first: int, last: int) -> str:
    return " ".join(text.split()[first:last])


@pytest.fixture
def questions(tmp_path: Path) -> str:
    """Writes two questions: the next words of which document follow its first words?"""
    choices = [words(text, 10, 14) for text in KNOWN]
    rows = [{"prompt": words(text, 0, 10), "choices": choices, "answer": KNOWN.index(text)} for text in KNOWN]
    (tmp_path / "next.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(tmp_path / "next.jsonl")


def test_memorised_text_is_measured_and_written(saved_model, questions, tmp_path):
    settings = TaskSettings.model_validate({
        "memorisation": {"prompts": 4, "prompt_words": 6, "run_words": 12, "max_new_tokens": 80, "max_share": 0.25},
        "tasks": [{"kind": "multiple_choice", "name": "next_words", "file": questions, "min_accuracy": 0.9}],
    })  # fmt: skip
    train = [write_documents(tmp_path / "train.gz", *({"text": [text]} for text in DOCUMENTS))]
    corpus = Corpus(train_files=train, eval_files=[], data_kind="text", template=None)
    progress = []
    results = evaluate(settings, saved_model, corpus, lambda done, total: progress.append((done, total)))
    assert results.figures() == {"memorised_share": 0.5, "accuracy_next_words": 1.0}
    assert progress == [(0, 8), (4, 8), (8, 8)]
    results.write(tmp_path / "output")
    written = json.loads((tmp_path / "output" / "tasks.json").read_text())
    # After an unknown prompt the model also returns to known text, but recites fewer words.
    recited = written["memorisation"]["continuations"][:2]
    assert {row["prompt"] for row in recited} == {words(text, 0, 6) for text in KNOWN}
    assert {row["run"]["text"] for row in recited} == {words(text, 6, 22) for text in KNOWN}
    assert written["memorisation"]["longest"]["words"] == 16
    assert [(task["name"], task["accuracy"], task["chance"]) for task in written["tasks"]] == [("next_words", 1.0, 0.5)]
    checks = json.loads((tmp_path / "output" / "checks.json").read_text())
    assert [(check["measured"], check["limit"], check["passed"]) for check in checks] == [
        (0.5, 0.25, False),
        (1.0, 0.9, True),
    ]


def test_answers_are_right_for_memorised_text(saved_model, tmp_path):
    rows = [
        {"prompt": [words(text, 0, 10)], "completion": [" " + words(text, 10, 20)]} for text in (KNOWN[0], UNKNOWN[0])
    ]
    corpus = Corpus(
        train_files=[], eval_files=[write_documents(tmp_path / "eval.gz", *rows)], data_kind="instruction",
        template=TEMPLATES["plain"],
    )  # fmt: skip
    settings = TaskSettings.model_validate({
        "memorisation": {"prompts": 0},
        "tasks": [{"kind": "answers", "max_new_tokens": 50, "min_rouge_l": 0.4, "min_bleu": 99}],
    })  # fmt: skip
    results = evaluate(settings, saved_model, corpus)
    assert results.memorisation is None
    assert results.figures()["rouge_l"] == pytest.approx(0.5, abs=0.05)
    assert [check.passed for check in results.checks()] == [True, False]


def test_no_model_is_loaded_if_there_is_nothing_to_measure(tmp_path):
    settings = TaskSettings.model_validate({"memorisation": {"prompts": 0}})
    corpus = Corpus(train_files=[], eval_files=[], data_kind="text", template=None)
    results = evaluate(settings, "no such folder", corpus)
    assert results.checks() == []
    results.write(tmp_path)
    assert json.loads((tmp_path / "tasks.json").read_text()) == {"memorisation": None, "tasks": []}


def test_answers_need_a_corpus_with_completions():
    tasks = TaskSettings.model_validate({"tasks": [{"kind": "answers"}]}).tasks
    check_tasks(tasks, data_kind="instruction")
    with pytest.raises(InputError, match=r"needs a corpus with completions.* Received: `data\.kind: text`"):
        check_tasks(tasks, data_kind="text")


def test_files_are_checked_early_and_fingerprinted(questions):
    tasks = TaskSettings.model_validate(
        {"tasks": [{"kind": "multiple_choice", "name": "next_words", "file": questions}, {"kind": "answers"}]}
    ).tasks
    before = fingerprint(tasks)
    assert len(before) == 64
    assert fingerprint(tasks) == before
    Path(questions).write_text(Path(questions).read_text() + "\n{}\n")
    assert fingerprint(tasks) != before
    with pytest.raises(InputError, match=r"next\.jsonl, line 3: a question has .* Received: none"):
        check_tasks(tasks, data_kind="instruction")
    Path(questions).unlink()
    for check in (fingerprint, lambda tasks: check_tasks(tasks, data_kind="text")):
        with pytest.raises(InputError, match=r"next\.jsonl cannot be read: No such file"):
            check(tasks)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (
            [{"kind": "answers"}, {"kind": "answers"}],
            "`answers` may occur only once. Received: answers,",
        ),
        (
            [{"kind": "multiple_choice", "name": "a", "file": "x.jsonl"}] * 2,
            "a name of its own.* Received: a, which",
        ),
        (
            [{"kind": "multiple_choice", "name": "samples", "file": "x.jsonl"}],
            "must not have one of the names memorisation, samples, greedy_agreement.* Received: samples; rename",
        ),
        ([{"kind": "riddles"}], "'multiple_choice', 'answers'"),
        ([{"kind": "answers", "min_rouge": 0.5}], "min_rouge"),
        ([{"kind": "multiple_choice", "name": "a", "file": "x.jsonl", "min_accuracy": 75}], "less than or equal to 1"),
    ],
)
def test_invalid_settings_are_refused(tasks, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        TaskSettings.model_validate({"tasks": tasks})


def test_settings_survive_json(questions):
    settings = TaskSettings.model_validate(
        {"tasks": [{"kind": "multiple_choice", "name": "a", "file": questions}, {"kind": "answers", "min_bleu": 3}]}
    )
    assert TaskSettings.model_validate_json(settings.model_dump_json()) == settings
