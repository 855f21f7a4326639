"""Both placements identify the same inputs, independent of the place where the pipeline runs."""

import dataclasses
from pathlib import Path

import pytest

from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_tokenizer_folder
from pipeline.code_fingerprint import ROOT
from pipeline.config import PipelineConfig, load_config
from pipeline.placement import Placement
from tests.toys.checkout import RECIPE

FINGERPRINTS = (
    "data_fingerprint", "tokenizer_fingerprint", "preset_fingerprint", "training_fingerprint", "task_fingerprint",
)  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """Returns a configuration with files as text, vocabulary, teacher and task."""
    (tmp_path / "text.txt").write_text("A text.")
    (tmp_path / "teacher").mkdir()
    (tmp_path / "task.jsonl").write_text('{"text": "a"}\n')
    write_tokenizer_folder(Vocabulary.from_merges([]), tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return load_config(
        tmp_path / "recipe.yaml",
        [
            f"workspace={tmp_path}/workspace",
            f"data.source={tmp_path}/text.txt",
            f"tokenizer={{vocabulary: {tmp_path}/vocabulary.json, merges: {tmp_path}/merges.txt}}",
            f"training.distillation.teacher={tmp_path}/teacher",
            f"evaluation.tasks=[{{kind: multiple_choice, name: poems, file: {tmp_path}/task.jsonl}}]",
        ],
    )


def fingerprints(placement: Placement) -> dict[str, str]:
    return {name: getattr(placement, name) for name in FINGERPRINTS}


def test_locally_everything_is_in_the_workspace(config: PipelineConfig, tmp_path: Path) -> None:
    here = Placement.local(config)
    folder = tmp_path / "workspace" / "topics"
    assert here.pipeline_root == str(folder / "artifacts")
    assert here.push_directory == str(folder / "releases")
    assert here.push_directory_id == (folder / "releases" / ".id").read_text()
    assert here.checkpoint_directory == str(folder / "checkpoints")
    assert here.data_directory == str(tmp_path / "workspace" / "tfds")
    assert here.metadata_connection_config.sqlite.filename_uri == str(tmp_path / "workspace" / "metadata.sqlite")
    assert (here.project, here.own_strategies) == (ROOT, True)


def test_on_vertex_everything_is_in_cloud_storage(config: PipelineConfig) -> None:
    vertex = Placement.vertex(config, "gs://bucket/topics/")
    assert {name: value for name, value in dataclasses.asdict(vertex).items() if name not in FINGERPRINTS} == {
        "pipeline_root": "gs://bucket/topics",
        "push_directory": "gs://bucket/topics/releases",
        "push_directory_id": "",
        "data_directory": "gs://bucket/topics/tfds",
        "checkpoint_directory": None,
        "project": Path(),
        "own_strategies": False,
        "metadata_connection_config": None,
    }


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("text.txt", "data_fingerprint"),
        ("merges.txt", "tokenizer_fingerprint"),
        ("teacher/model.weights.h5", "training_fingerprint"),
        ("task.jsonl", "task_fingerprint"),
    ],
)
def test_each_file_changes_one_fingerprint_of_both_placements(
    config: PipelineConfig, tmp_path: Path, file: str, changed: str
) -> None:
    before = fingerprints(Placement.local(config))
    assert before == fingerprints(Placement.vertex(config, "gs://bucket"))
    with (tmp_path / file).open("a") as handle:
        handle.write("more")
    after = fingerprints(Placement.local(config))
    assert after == fingerprints(Placement.vertex(config, "gs://bucket"))
    assert {name for name in FINGERPRINTS if before[name] != after[name]} == {changed}
