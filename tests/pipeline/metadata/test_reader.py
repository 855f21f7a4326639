from pathlib import Path

import pytest

from modules.common.errors import InputError
from pipeline.metadata.reader import MetadataReader
from tests.toys.checkout import Checkout, FinishedRun


def test_lineage_leads_from_the_text_to_the_release(first_run: FinishedRun, checkout: Checkout, release: Path) -> None:
    graph = checkout.reader().lineage(release)
    labels = {graph.nodes[node]["label"] for node in graph}
    assert {"TextExampleGen", "Contract", "Transform", "Trainer", "Evaluator", "TFLiteConverter", "Pusher"} <= labels
    roots = {graph.nodes[node]["label"] for node in graph if graph.in_degree(node) == 0}
    leaves = {graph.nodes[node]["label"] for node in graph if graph.out_degree(node) == 0}
    assert roots == {"TextExampleGen", "Contract"}
    assert leaves == {"PushedModel"}
    kinds = {(graph.nodes[cause]["kind"], graph.nodes[effect]["kind"]) for cause, effect in graph.edges}
    assert kinds == {("artifact", "execution"), ("execution", "artifact")}


def test_artifacts_of_the_run_are_those_in_the_lineage(first_run, checkout: Checkout, release: Path) -> None:
    graph = checkout.reader().lineage(release)
    for node, output in (("Trainer", "model"), ("TextExampleGen", "examples"), ("Pusher", "pushed_model")):
        assert ("artifact", first_run.run.output(node, output).id) in graph


def test_executions_carry_state_and_time(first_run: FinishedRun) -> None:
    trainer = next(execution for execution in first_run.run.executions if execution.node == "Trainer")
    assert trainer.state == "complete"
    assert 1 < trainer.seconds < 600
    assert {name: len(found) for name, found in trainer.outputs.items()} == {"model": 1, "model_run": 1}


def test_reading_changes_nothing(first_run: FinishedRun, checkout: Checkout, release: Path) -> None:
    path = checkout.folder / "workspace" / "metadata.sqlite"
    before = path.read_bytes()
    reader = MetadataReader(path)
    reader.runs()
    reader.lineage(release)
    assert path.read_bytes() == before


def test_missing_databases_runs_and_releases_are_named(
    first_run: FinishedRun, checkout: Checkout, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no ML Metadata at .*metadata.sqlite"):
        MetadataReader(tmp_path / "metadata.sqlite")
    with pytest.raises(InputError, match="no run 'yesterday'; the latest are: 2"):
        checkout.reader().run("yesterday")
    with pytest.raises(InputError, match="pushed"):
        checkout.reader().lineage(tmp_path)


def test_runs_prints_verdict_and_perplexity(first_run: FinishedRun, checkout: Checkout, release: Path) -> None:
    result = checkout.command("runs", "--limit", "100")
    assert result.returncode == 0, result.stderr
    row = next(line.split() for line in result.stdout.splitlines() if line.startswith(first_run.run.id))
    assert row[1:4] == ["topics", "pushed", f"{first_run.run.perplexity:.2f}"]
    assert row[-1] == release.name


def test_training_left_its_logs_for_tensorboard(first_run: FinishedRun) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = first_run.run.output("Trainer", "model_run").uri
    events = [EventAccumulator(str(path)).Reload() for path in Path(folder).rglob("*") if path.is_dir()]
    tags = {tag for accumulator in events for tag in accumulator.Tags()["tensors"]}
    assert tags == {"loss", "learning_rate", "gradient_norm", "tokens_per_second", "memory_mb"}
