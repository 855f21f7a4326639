"""Wiring of the DAG, checked without a run."""

import ast
import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from tfx.components import Trainer
from tfx.dsl.compiler.compiler import Compiler
from tfx.dsl.components.common.resolver import Resolver
from tfx.proto.orchestration.pipeline_pb2 import PipelineNode

from pipeline import dag
from pipeline.code_fingerprint import ROOT, code_fingerprint, imported_files
from pipeline.config import PipelineConfig, load_config
from pipeline.dag import create_pipeline
from pipeline.placement import Placement
from pipeline.runners.vertex import compile_pipeline
from tests.toys.checkout import ALL, RECIPE, copy_project

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


def test_every_node_checks_its_inputs_and_records_its_outputs(recipe: Path) -> None:
    components = create_pipeline(load_config(recipe), PLACEMENT).components
    executors = {node.id: node.executor_spec.executor_class for node in components if not isinstance(node, Resolver)}
    assert len(executors) == len(ALL)
    unchecked = [node for node, executor in executors.items() if not hasattr(executor.Do, "__wrapped__")]
    assert not unchecked, f"`Do` must be decorated with `components.integrity.checked`: {unchecked}"


def test_code_and_lock_are_part_of_the_cache_key_of_every_node(recipe: Path) -> None:
    components = create_pipeline(load_config(recipe), PLACEMENT).components
    flags = {node.id: node.executor_spec.extra_flags for node in components if not isinstance(node, Resolver)}
    assert len(flags) == len(ALL)
    assert [node for node, added in flags.items() if not any(flag.startswith("--code=") for flag in added)] == []


@pytest.mark.parametrize(
    ("file", "affected"),
    [
        ("modules/release/publishing.py", {"Pusher"}),
        ("modules/report/templates/report.css", {"Report"}),
        ("components/perplexity_evaluator/executor.py", {"Evaluator"}),
        ("modules/export/tflite_worker.py", {"TFLiteConverter"}),
        ("modules/training/loop.py", {"Trainer"}),
        ("modules/tokenization/preprocessing.py", {"Transform"}),
        ("schemas/text.pbtxt", {"Contract"}),
        ("modules/serving/continuation.py", set()),
        ("uv.lock", ALL),
    ],
)
def test_an_edited_line_changes_the_cache_keys_of_the_nodes_that_use_it(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, affected: set[str]
) -> None:
    copy = copy_project(tmp_path / "copy", RECIPE)

    def fingerprint(entries: Iterable[str], data_files: Iterable[Path] = ()) -> str:
        imported_files.cache_clear()
        return code_fingerprint(entries, [copy / path.relative_to(ROOT) for path in data_files], copy)

    def flags() -> dict[str, list[str]]:
        components = create_pipeline(load_config(recipe), PLACEMENT).components
        return {node.id: list(node.executor_spec.extra_flags) for node in components if not isinstance(node, Resolver)}

    monkeypatch.setattr(dag, "code_fingerprint", fingerprint)
    before = flags()
    with (copy / file).open("a") as opened:
        opened.write("\n")
    assert {node for node, added in flags().items() if added != before[node]} == affected


def test_rows_that_are_too_long_are_counted_before_anything_is_trained(recipe: Path) -> None:
    assert "LengthGate" not in nodes(load_config(recipe))
    config = load_config(recipe, ["data.kind=instruction", "data.too_long=truncate", "model.context_length=32"])
    found = nodes(config)
    assert "LengthGate" in found["Trainer"].upstream_nodes
    assert "length_check" in found["Report"].inputs.inputs
    parameters = found["LengthGate"].parameters.parameters
    values = [parameters[name].field_value for name in ("context_length", "largest_context", "too_long")]
    assert [value.int_value or value.string_value for value in values] == [32, 1024, "truncate"]
    trainer = next(node for node in create_pipeline(config, PLACEMENT).components if isinstance(node, Trainer))
    custom_config = json.loads(trainer.exec_properties["custom_config"])
    assert (custom_config["truncate"], custom_config["template"]) == (True, "headings")


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


def test_every_module_that_is_named_in_a_string_is_part_of_a_cache_key(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprinted: set[Path] = set()

    def record(entries: Iterable[str], data_files: Iterable[Path] = ()) -> str:
        fingerprinted.update(*(imported_files(entry) for entry in entries))
        return "hash"

    monkeypatch.setattr(dag, "code_fingerprint", record)
    nodes(load_config(recipe))
    named = {
        ROOT.joinpath(*parts).with_suffix(".py")
        for path in [*(ROOT / "modules").rglob("*.py"), *(ROOT / "components").rglob("*.py"), ROOT / "pipeline/dag.py"]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("modules.")
        for parts in [node.value.split("."), node.value.split(".")[:-1]]
    }
    files = {path for path in named if path.is_file()}
    assert {path.name for path in files} >= {"run_fn.py", "preprocessing.py", "tflite_worker.py"}
    assert files - fingerprinted == set()
