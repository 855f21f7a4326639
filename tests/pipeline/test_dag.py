"""Wiring of the DAG, checked without a run."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from tfx.components import Trainer
from tfx.dsl.compiler.compiler import Compiler
from tfx.proto.orchestration.pipeline_pb2 import PipelineNode

from pipeline.config import PipelineConfig, load_config
from pipeline.dag import create_pipeline
from pipeline.placement import Placement
from pipeline.runners.vertex import compile_pipeline
from tests.toys.checkout import RECIPE

PLACEMENT = Placement(
    pipeline_root="root", push_directory="releases", push_directory_id="", data_directory="tfds", data_fingerprint="",
    tokenizer_fingerprint="", preset_fingerprint="", training_fingerprint="", task_fingerprint="",
)  # fmt: skip


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def nodes(config: PipelineConfig, *, own_strategies: bool = True) -> dict[str, PipelineNode]:
    placement = dataclasses.replace(PLACEMENT, own_strategies=own_strategies)
    compiled = Compiler().compile(create_pipeline(config, placement))
    return {node.pipeline_node.node_info.id: node.pipeline_node for node in compiled.nodes}


@pytest.mark.parametrize("own_strategies", [True, False])
def test_a_warm_start_gives_the_trainer_the_latest_blessed_model(recipe: Path, own_strategies: bool) -> None:
    warm = nodes(load_config(recipe, ["model.warm_start=true"]), own_strategies=own_strategies)
    base_model = warm["Trainer"].inputs.inputs["base_model"]
    assert [channel.producer_node_query.id for channel in base_model.channels] == ["WarmStartModel"]
    assert base_model.min_count == 0  # the first run has none
    assert "WarmStartModel" in warm["Trainer"].upstream_nodes
    assert not warm["WarmStartModel"].upstream_nodes  # it never waits for the model that is trained from it


def test_without_a_warm_start_no_blessing_is_an_input_of_the_trainer(recipe: Path) -> None:
    plain = nodes(load_config(recipe))
    assert "WarmStartModel" not in plain
    assert set(plain["Trainer"].inputs.inputs) == {"examples", "transform_graph"}


def test_vertex_gets_the_same_warm_start(recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "spec.yaml"
    (tmp_path / "text.txt").write_text("A text.")
    config = load_config(recipe, ["model.warm_start=true", f"data.source={tmp_path}/text.txt"])
    compile_pipeline(config, output, image="example.com/tfx-gpt2:1", pipeline_root="gs://bucket/topics")
    tasks = yaml.safe_load(output.read_text())["root"]["dag"]["tasks"]
    producer = tasks["Trainer"]["inputs"]["artifacts"]["base_model"]["taskOutputArtifact"]["producerTask"]
    assert producer.startswith("WarmStartModel")


def test_a_changed_teacher_trains_again(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    config = load_config(recipe, [f"training.distillation.teacher={tmp_path / 'teacher'}"])

    def custom_config() -> dict:
        placement = dataclasses.replace(PLACEMENT, training_fingerprint=config.training.fingerprint())
        trainer = next(node for node in create_pipeline(config, placement).components if isinstance(node, Trainer))
        return json.loads(trainer.exec_properties["custom_config"])

    before = custom_config()
    assert before == custom_config()
    (tmp_path / "teacher" / "model.weights.h5").write_bytes(b"other weights")
    assert before != custom_config()
