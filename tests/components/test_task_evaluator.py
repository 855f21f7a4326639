"""TaskEvaluator on a real SavedModel and real examples, with its figures in ML Metadata."""

import json
import os
from pathlib import Path

import pytest
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, channel, standard_artifacts

from components.task_evaluator import executor
from components.task_evaluator.component import TaskEvaluator
from modules.common import progress
from modules.common.errors import InputError
from modules.evaluation.gates import read_checks
from modules.evaluation.tasks import TaskSettings
from tests.toys.examples import write_documents
from tests.toys.release import saved_release

TEXT = "once upon a time there was a king who had a daughter and she had a ball of gold "


def examples(folder: Path, kind: str, template: str = "") -> standard_artifacts.Examples:
    """Returns an artifact as TextExampleGen describes it, with one example per split."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder / "examples")
    artifact.split_names = artifact_utils.encode_split_names(["train", "eval"])
    artifact.set_string_custom_property("data_kind", kind)
    if template:
        artifact.set_string_custom_property("prompt_template", template)
    for split in ("train", "eval"):
        path = folder / "examples" / f"Split-{split}"
        path.mkdir(parents=True)
        row = (
            {"text": [TEXT]} if kind == "text" else {"prompt": ["User:\nSing!\n\nAssistant:\n"], "completion": ["La."]}
        )
        write_documents(path / "data_tfrecord-00000-of-00001.gz", row)
    return artifact


def run(folder: Path, settings: dict, inputs: standard_artifacts.Examples) -> standard_artifacts.ModelEvaluation:
    model, output = standard_artifacts.Model(), standard_artifacts.ModelEvaluation()
    model.uri = os.path.dirname(saved_release().preset)
    output.uri = str(folder / "output")
    properties = {"settings": TaskSettings.model_validate(settings).model_dump_json(), "task_fingerprint": "f"}
    context = base_executor.BaseExecutor.Context(tmp_dir=str(folder / "tmp"), unique_id="1")
    executor.Executor(context).Do({"examples": [inputs], "model": [model]}, {"task_evaluation": [output]}, properties)
    return output


def test_a_text_model_is_measured_by_memorisation_and_multiple_choice(tmp_path, monkeypatch):
    monkeypatch.setenv(progress.EVENTS_VARIABLE, str(tmp_path / "events.jsonl"))
    (tmp_path / "toy.jsonl").write_text('{"prompt": "a", "choices": ["b", "c", "d", "e"], "answer": 1}\n' * 3)
    settings = {
        "memorisation": {"prompt_words": 4, "run_words": 5, "max_new_tokens": 8, "max_share": 1},
        "tasks": [{"kind": "multiple_choice", "name": "toy", "file": str(tmp_path / "toy.jsonl")}],
    }
    output = run(tmp_path, settings, examples(tmp_path, "text"))
    written = json.loads(Path(output.uri, "tasks.json").read_text())
    assert [row["prompt"] for row in written["memorisation"]["continuations"]] == ["once upon a time"]
    accuracy = written["tasks"][0]["accuracy_bytes"]
    assert accuracy in (0.0, 1.0)  # the same question three times
    assert output.get_float_custom_property("accuracy_toy") == accuracy
    # Eight bytes of a random model are fewer than five words. A figure that was not measured has no property and fails.
    assert "memorised_share" not in output.mlmd_artifact.custom_properties
    assert [check.passed for check in read_checks(output.uri)] == [False]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(event["node"], event["done"], event["total"]) for event in events] == [
        ("TaskEvaluator", 0, 44), ("TaskEvaluator", 1, 44), ("TaskEvaluator", 13, 44),
    ]  # fmt: skip


def test_an_instruction_model_is_measured_by_its_answers(tmp_path):
    settings = {"tasks": [{"kind": "answers", "max_new_tokens": 4, "min_rouge_l": 0.5}]}
    output = run(tmp_path, settings, examples(tmp_path, "instruction", "chat"))
    written = json.loads(Path(output.uri, "tasks.json").read_text())
    (answer,) = written["tasks"][0]["answers"]
    assert (answer["prompt"], answer["reference"]) == ("User:\nSing!\n\nAssistant:\n", "La.")
    assert output.get_float_custom_property("rouge_l") == written["tasks"][0]["rouge_l"] == 0.0
    assert output.get_float_custom_property("bleu") == written["tasks"][0]["bleu"]
    assert [check.sentence for check in read_checks(output.uri)] == [
        "ROUGE-L of answers: 0 is below 0.5 (evaluation.tasks, answers: min_rouge_l)"
    ]


def test_a_bad_task_file_is_an_input_error(tmp_path):
    settings = {"tasks": [{"kind": "multiple_choice", "name": "toy", "file": "nowhere.jsonl"}]}
    with pytest.raises(InputError, match=r"nowhere\.jsonl cannot be read"):
        run(tmp_path, settings, examples(tmp_path, "text"))


def test_wrong_wiring_fails_when_the_pipeline_is_built():
    data, model = (channel.Channel(type=kind) for kind in (standard_artifacts.Examples, standard_artifacts.Model))
    outputs = TaskEvaluator(examples=data, model=model, settings="{}", task_fingerprint="").outputs
    assert outputs["task_evaluation"].type is standard_artifacts.ModelEvaluation
    with pytest.raises(TypeError, match="Examples"):
        TaskEvaluator(examples=model, model=model, settings="{}", task_fingerprint="")
