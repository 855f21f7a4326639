import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from modules.data.examples import serialized_example
from modules.report import gathering
from modules.report.contents import Report, Split
from modules.report.sources import SourceFigures
from tests.toys.report import CONFIGURATION, REFUSED, loss_point, write_artifacts


def gathered(folder: Path, **settings: Any) -> Report:
    artifacts = write_artifacts(folder, **settings)
    return gathering.gather(artifacts, pipeline="poems", run="run 7", configuration=CONFIGURATION)


def test_a_report_contains_the_results_of_all_nodes(tmp_path: Path) -> None:
    report = gathered(tmp_path)
    assert report.verdict.sentence == "Blessed: the one gate passed."
    assert report.data.splits == (
        Split(name="train", documents=180, size_bytes=70000, tokens=17500),
        Split(name="eval", documents=20, size_bytes=4000, tokens=1000),
    )
    assert report.data.dropped == {"exact duplicate": 7}  # no document was too short
    assert report.data.sources == (
        SourceFigures(name="odes", documents=150, tokens=16000, share=2 / 3, times_read=0.75, unread_tokens=4000),
        SourceFigures(name="limericks", documents=30, tokens=1500, share=1 / 3, times_read=4.0, unread_tokens=0),
    )
    assert report.data.changed == {"control characters removed": 3}
    assert report.warnings == ("few <tokens>", "few words")
    assert (report.data.input_fingerprint, report.data.secrets) == ("1f1f", {"email_address": 2})
    assert (report.model.start, report.model.num_layers, report.model.context_length) == ("a random start", 4, 32)
    assert [(file.name, file.size_bytes, file.perplexity, file.released) for file in report.files] == [
        ("SavedModel", 7_000_000, 120.0, True),
        ("TFLite float16", 2_900_000, 120.0, True),
        ("TFLite int8", 1_800_000, 130.0, True),
    ]
    assert [(item.name, item.type, item.id) for item in report.lineage][:2] == [
        ("examples", "Examples", 11),
        ("transformed_examples", "Examples", 12),
    ]


def test_numbers_of_several_nodes_under_one_name_are_added_up(tmp_path: Path) -> None:
    artifacts = write_artifacts(tmp_path)
    for name, cut in (("model_run", 2), ("task_evaluation", 3)):
        properties = {**artifacts[name].properties, "changed_prompts_of_samples_cut": cut}
        artifacts[name] = dataclasses.replace(artifacts[name], properties=properties)
    report = gathering.gather(artifacts, pipeline="poems", run="run 7", configuration=CONFIGURATION)
    assert report.data.changed == {"control characters removed": 3, "prompts of samples cut": 5}


def test_no_file_of_a_refused_model_is_released(tmp_path: Path) -> None:
    report = gathered(tmp_path, checks=[REFUSED], blessed=False)
    assert report.verdict.sentence == "Refused: perplexity 152 is above 150 (evaluation.max_perplexity)."
    assert [file.released for file in report.files] == [False, False, False]


def test_only_the_failed_file_is_not_released(tmp_path: Path) -> None:
    report = gathered(tmp_path, int8_released=False)
    assert report.verdict.blessed
    assert [file.released for file in report.files] == [True, True, False]


def test_nan_in_a_record_is_read_as_none(tmp_path: Path) -> None:
    nan = float("nan")  # which Python's json writes and reads, although it is not JSON
    training = gathered(tmp_path, training={"perplexity_before": nan, "loss": [loss_point(1, nan)]}).training
    assert training.perplexity_before is None
    assert training.loss[0].loss is None


def test_no_file_is_released_if_every_file_is_needed_and_one_failed(tmp_path: Path) -> None:
    artifacts = write_artifacts(tmp_path, int8_released=False)
    stopped = dataclasses.replace(artifacts["tflite_evaluation"], properties={"blessed": 0})
    report = gathering.gather(
        {**artifacts, "tflite_evaluation": stopped}, pipeline="poems", run="run 7", configuration=CONFIGURATION
    )
    assert "nothing ships without it" in report.verdict.sentence
    assert [file.released for file in report.files] == [False, False, False]


@pytest.mark.parametrize("name", ["evaluation/metrics.json", "evaluation/checks.json", "model_run/training.json"])
def test_a_missing_file_of_a_node_is_an_error(tmp_path: Path, name: str) -> None:
    artifacts = write_artifacts(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=Path(name).name):
        gathering.gather(artifacts, pipeline="poems", run="run 7", configuration=CONFIGURATION)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/someone/texts/*.txt", "…/*.txt"),
        (["~/poems/**/*.md", "more/*.md"], ["…/*.md", "more/*.md"]),
        ({"merges": "/data/gpt2/merges.txt", "steps": 3}, {"merges": "…/merges.txt", "steps": 3}),
        ("tfds:imdb_reviews/plain_text", "tfds:imdb_reviews/plain_text"),
        ("///", "///"),  # a separator of documents
    ],
)
def test_folders_of_the_machine_are_left_out(value: Any, shown: Any) -> None:
    assert gathering.without_folders(value) == shown


def test_samples_contain_no_secret_and_are_short(tmp_path: Path) -> None:
    documents = ["Write to jane.doe@gmail.com.", "Roses are red.", "Violets " * 200]
    samples = gathered(tmp_path, documents=documents).data.samples
    assert [sample.text for sample in samples] == ["Roses are red.", ("Violets " * 75).strip() + " …"]
    assert {sample.source for sample in samples} == {"poems.txt"}


def test_samples_come_from_different_sources_if_possible(tmp_path: Path) -> None:
    artifacts = write_artifacts(tmp_path)
    path = next((tmp_path / "examples" / "Split-train").iterdir())
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for source in ("a", "a", "a", "b", "c"):
            writer.write(
                serialized_example({"prompt": ["Q1 ", " Q2 "], "completion": ["A1", "A2"]}, "Q1 A1 Q2 A2", source)
            )
    samples = gathering.gather(artifacts, pipeline="p", run="r", configuration=CONFIGURATION).data.samples
    assert [sample.source for sample in samples] == ["a", "b", "c", "a"]
    assert samples[0].text == "Q1 A1 Q2 A2"
