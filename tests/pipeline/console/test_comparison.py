"""Comparison of two runs, of the shared real pipeline and of a store written by hand."""

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from modules.common.errors import InputError
from pipeline.config import load_config
from pipeline.console.comparison import Changes, changes, comparison, dotted
from pipeline.console.terminal import Console
from pipeline.metadata.reader import MetadataReader
from pipeline.metadata.run_record import RunRecord
from tests.toys.checkout import Checkout, FinishedRun, edited

RECORD = RunRecord(
    configuration={
        "name": "topics",
        "data": {"source": "texts/of/the/year/2024.txt", "cleaning": {"min_language_probability": 0.5}},
        "training": {"steps": 10, "seed": 0, "jit_compile": False, "epochs": None, "note": "[bold]"},
    },
    code={"modules/a.py": "000000000000", "modules/b.py": "111111111111", "uv.lock": "222222222222"},
    commit="abcdefabcdef",
)
STATES = {"complete": mlmd.Execution.COMPLETE, "cached": mlmd.Execution.CACHED, "failed": mlmd.Execution.FAILED}

# A node's state, and its outputs' properties by name.
Node = tuple[str, Mapping[str, Mapping[str, Any]]]


class Store:
    """ML Metadata in a file, written by hand as TFX writes it."""

    def __init__(self, path: Path):
        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self.path = path
        self._store = metadata_store.MetadataStore(config)
        self._context_types = {
            name: self._store.put_context_type(mlmd.ContextType(name=name))
            for name in ("pipeline", "pipeline_run", "node")
        }
        self._artifact_type = self._store.put_artifact_type(mlmd.ArtifactType(name="Anything"))

    def _context(self, kind: str, name: str, properties: Mapping[str, Any]) -> mlmd.Context:
        found = self._store.get_context_by_type_and_name(kind, name)
        if found:
            return found
        context = mlmd.Context(type_id=self._context_types[kind], name=name)
        set_properties(context, properties)
        [context.id] = self._store.put_contexts([context])
        return context

    def add_run(self, run_id: str, nodes: Mapping[str, Node], record: RunRecord | None = None) -> None:
        pipeline = self._context("pipeline", "topics", {})
        run = self._context("pipeline_run", run_id, record.to_properties() if record else {})
        self._store.put_parent_contexts([mlmd.ParentContext(parent_id=pipeline.id, child_id=run.id)])
        for node, (state, outputs) in nodes.items():
            kind = "tfx.dsl.components.common.resolver.Resolver" if node.startswith("Latest") else f"components.{node}"
            execution = mlmd.Execution(
                type_id=self._store.put_execution_type(mlmd.ExecutionType(name=kind)), last_known_state=STATES[state]
            )
            pairs = []
            for output, properties in outputs.items():
                artifact = mlmd.Artifact(type_id=self._artifact_type, uri="somewhere")
                set_properties(artifact, properties)
                event = mlmd.Event(type=mlmd.Event.OUTPUT)
                event.path.steps.add().key = output
                pairs.append((artifact, event))
            self._store.put_execution(execution, pairs, [run, self._context("node", f"topics.{node}", {})])

    def reader(self) -> MetadataReader:
        return MetadataReader(self.path)

    def compare(self, left: str, right: str) -> str:
        """Returns the printed comparison in 80 columns."""
        printed = io.StringIO()
        reader = self.reader()
        console = Console(file=printed, width=80, color_system=None)
        console.print(comparison(reader.find_run(left), reader.find_run(right)), highlight=False)
        return printed.getvalue()


def set_properties(node: mlmd.Context | mlmd.Artifact, properties: Mapping[str, Any]) -> None:
    for name, value in properties.items():
        kind = {int: "int_value", float: "double_value", str: "string_value"}[type(value)]
        setattr(node.custom_properties[name], kind, value)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "metadata.sqlite")


def section(printed: str, title: str) -> list[str]:
    """Returns the title's line and the lines below it up to an empty line, with single spaces."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    start = next(number for number, line in enumerate(lines) if line.startswith(title))
    return lines[start : lines.index("", start) if "" in lines[start:] else len(lines)]


def test_values_are_compared_by_name() -> None:
    left = {"steps": 10, "seed": 0, "loss": float("nan")}
    right = {"steps": 20, "seed": 0, "loss": float("nan"), "x": 1}
    assert changes(left, right) == Changes(differing={"steps": (10, 20), "x": (None, 1)}, unchanged=2)


def test_settings_have_dotted_names() -> None:
    assert dotted({"name": "a", "data": {"splits": {"train": 8}}}) == {"name": "a", "data.splits.train": 8}


def test_settings_and_files_that_differ_are_listed(store: Store) -> None:
    configuration = {
        "name": "topics",
        "data": {"source": "texts/of/the/year/2025.txt", "cleaning": {"min_language_probability": 0.25}},
        "training": {"steps": 3200, "seed": 0, "jit_compile": True, "epochs": None, "note": "[/bold] :smile:"},
    }
    code = {"modules/a.py": "333333333333", "modules/c.py": "444444444444", "uv.lock": "222222222222"}
    store.add_run("20260101T1", {}, RECORD)
    store.add_run("20260102T1", {}, RunRecord(configuration=configuration, code=code, commit=None))
    printed = store.compare("latest~1", "latest")
    assert section(printed, "run") == [
        "run 20260101T1 20260102T1", "pipeline topics topics", "started - -", "git commit abcdefabcdef -",
        "verdict incomplete incomplete",
    ]  # fmt: skip
    assert section(printed, "Configuration") == [
        "Configuration 3 settings unchanged",
        "data.source …the/year/2024.txt …the/year/2025.txt",
        "data.cleaning.min_language_probability 0.5 0.25",
        "training.steps 10 3,200",
        "training.jit_compile false true",
        "training.note [bold] [/bold] :smile:",
    ]
    assert section(printed, "Code") == [
        "Code 1 files unchanged",
        "modules/a.py 000000000000 333333333333",
        "modules/b.py 111111111111 -",
        "modules/c.py - 444444444444",
    ]


def test_figures_are_compared_and_paths_and_ids_are_not(store: Store) -> None:
    def nodes(documents: int, perplexity: float, passed: int, version: str) -> dict[str, Node]:
        outputs: dict[str, dict[str, dict[str, Any]]] = {
            "TextExampleGen": {"examples": {"documents_train": documents, "input_fingerprint": version * 9}},
            "LatestBlessedModel": {"model_blessing": {"seen": documents}},
            "Evaluator": {"evaluation": {"perplexity": perplexity, "tokens": 184487.0, "model_id": documents}},
            "SomethingNew": {"a": {"passed_int8": passed}, "b": {"passed a/b": passed, "uri": f"/{version}"}},
        }
        return {node: ("complete", measured) for node, measured in outputs.items()}

    store.add_run("one", nodes(19843, 151.80623, 1, "beef"))
    store.add_run("two", nodes(20000, 75.0, 0, "cafe"))
    printed = store.compare("one", "two")
    assert section(printed, "Data") == [
        "Data 0 figures unchanged",
        "TextExampleGen examples",
        "documents train 19,843 20,000 +157 (+0.8%)",
        "input fingerprint beefbeefbeefbeefb… cafecafecafecafec…",
    ]
    assert section(printed, "Results") == [
        "Results 1 figures unchanged",
        "Evaluator evaluation",
        "perplexity 151.806 75 -76.81 (-50.6%)",
        "SomethingNew a",
        "passed int8 1 0",
        "SomethingNew b",
        "passed a/b 1 0",
    ]
    assert "Configuration and code of one and two are not known" in " ".join(printed.split())


def test_a_missing_figure_of_a_failed_run_is_a_dash(store: Store) -> None:
    store.add_run("good", {"Trainer": ("cached", {}), "Evaluator": ("complete", {"evaluation": {"perplexity": 2.0}})})
    store.add_run("bad", {"Trainer": ("cached", {}), "Evaluator": ("failed", {})})
    printed = store.compare("good", "bad")
    assert section(printed, "verdict") == ["verdict incomplete failed"]
    assert section(printed, "Results")[1:] == ["Evaluator evaluation", "perplexity 2 -"]
    took, *nodes = section(printed, "Time")
    assert took == "Time 1 nodes unchanged"
    assert nodes[0].startswith("Evaluator 0.0 s failed, 0.0 s")


def test_a_run_compared_with_itself_is_unchanged(store: Store) -> None:
    store.add_run("only", {"Evaluator": ("complete", {"evaluation": {"perplexity": 2.0}})}, RECORD)
    printed = store.compare("latest", "only")
    assert section(printed, "Results") == ["Results all 1 figures unchanged"]
    assert section(printed, "Configuration") == ["Configuration all 8 settings unchanged"]
    assert section(printed, "Code") == ["Code all 3 files unchanged"]


def test_lines_fit_80_columns_with_any_content(store: Store) -> None:
    longest = {"baseline_perplexity_of_the_longest_slice_nats_per_token": 1234567.25, "text": "x " * 200}
    changed = {"baseline_perplexity_of_the_longest_slice_nats_per_token": 7654321.5, "text": "y " * 200}
    store.add_run("20260101T101010.101", {"Evaluator": ("complete", {"evaluation": longest})}, RECORD)
    record = dataclasses.replace(RECORD, configuration={"a." * 30: list(range(50))}, commit="0123456789ab-dirty")
    store.add_run("20260101T101010.102", {"Evaluator": ("complete", {"evaluation": changed})}, record)
    printed = store.compare("latest~1", "latest")
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= 80
    assert "…" in printed
    assert "7.65432e+06" in printed


def test_a_run_is_found_by_its_id_its_first_characters_or_its_age(store: Store) -> None:
    for run_id in ("20260101T1", "20260101T11", "20260102T1"):
        store.add_run(run_id, {})
    reader = store.reader()
    called = {name: reader.find_run(name).id for name in ("20260101T1", "20260102", "latest", "latest~0", "latest~2")}
    assert called == {
        "20260101T1": "20260101T1",  # a whole id, although another id begins with it
        "20260102": "20260102T1",
        "latest": "20260102T1",
        "latest~0": "20260102T1",
        "latest~2": "20260101T1",
    }
    with pytest.raises(InputError, match="2 runs begin with '20260101': 20260101T11, 20260101T1; give more of the id"):
        reader.find_run("20260101")
    for unknown in ("latest~3", "yesterday", "latest~-1"):
        with pytest.raises(InputError, match=f"no run '{unknown}'; the latest are: 20260102T1, 20260101T11"):
            reader.find_run(unknown)


def test_the_record_of_a_real_run_is_its_recipe_and_its_code(first_run: FinishedRun, checkout: Checkout) -> None:
    recipe = load_config(checkout.folder / "recipe.yaml")
    assert first_run.run.record == RunRecord.of(recipe, checkout.folder)
    assert {"modules/training/run_fn.py", "components/release_pusher/executor.py", "uv.lock"} <= set(
        first_run.run.record.code
    )


def test_a_cached_run_has_its_own_record(first_run: FinishedRun, checkout: Checkout) -> None:
    with edited(checkout.folder / "modules" / "serving" / "text_generators.py", None, "# one more line\n"):
        again = checkout.run("--set", "training.precision=float32")
    assert again.executed == set()
    result = checkout.command("compare", first_run.run.id, "latest")
    assert result.returncode == 0, result.stderr
    assert section(result.stdout, "verdict") == ["verdict pushed pushed"]
    assert section(result.stdout, "Configuration") == [f"Configuration all {settings(again)} settings unchanged"]
    code, difference = section(result.stdout, "Code")
    assert code == f"Code {len(again.run.record.code) - 1} files unchanged"
    assert difference.split()[0] == "modules/serving/text_generators.py"


def test_a_failed_run_has_its_record_too(first_run: FinishedRun, stopped_run: FinishedRun, checkout: Checkout) -> None:
    assert stopped_run.status == 2
    result = checkout.command("compare", first_run.run.id, stopped_run.run.id)
    assert result.returncode == 0, result.stderr
    assert section(result.stdout, "verdict") == ["verdict pushed failed"]
    assert section(result.stdout, "Configuration")[1:] == ["training.steps 200 201"]
    assert section(result.stdout, "Code")[1].split()[0] == "schemas/text.pbtxt"
    assert f"perplexity {first_run.run.perplexity:,.6g} -" in section(result.stdout, "Results")


def settings(finished: FinishedRun) -> int:
    return len(dotted(finished.run.record.configuration))


def test_an_unknown_run_is_named(first_run: FinishedRun, checkout: Checkout) -> None:
    result = checkout.command("compare", "latest", "yesterday")
    assert result.returncode == 2
    assert "no run 'yesterday'; the latest are: 2" in result.stderr
