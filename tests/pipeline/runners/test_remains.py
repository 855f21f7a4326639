import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.config import PipelineConfig
from pipeline.metadata.reader import MetadataReader
from pipeline.runners.remains import Removed, sweep

COMPLETE, CACHED, FAILED, RUNNING = (
    getattr(mlmd.Execution, name) for name in ("COMPLETE", "CACHED", "FAILED", "RUNNING")
)
NOTHING = Removed(folders=0, size_bytes=0, executions=0)


class Workspace:
    """A workspace with ML Metadata as TFX writes it."""

    def __init__(self, folder: Path):
        self.folder = folder
        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = str(folder / "metadata.sqlite")
        config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self.store = metadata_store.MetadataStore(config)
        self.types = {
            name: self.store.put_context_type(mlmd.ContextType(name=name))
            for name in ("pipeline", "pipeline_run", "node")
        }
        self.execution_type = self.store.put_execution_type(mlmd.ExecutionType(name="component"))
        self.artifact_type = self.store.put_artifact_type(mlmd.ArtifactType(name="Examples"))

    def config(self, pipeline: str = "topics") -> PipelineConfig:
        return PipelineConfig.model_validate(
            {
                "name": pipeline,
                "workspace": self.folder,
                "data": {"source": "texts/*.txt"},
                "tokenizer": {"vocabulary_size": 512},
                "model": {"num_layers": 2, "num_heads": 2, "hidden_dim": 64, "context_length": 64},
                "training": {"steps": 200, "batch_size": 8},
                "evaluation": {"max_perplexity": 300},
            }
        )

    def execution(self, node: str, state: int, *, pipeline: str = "topics", published: bool = False) -> int:
        """Writes an execution and the files of its node; returns its id."""
        names = {"pipeline": pipeline, "pipeline_run": f"run of {pipeline}", "node": f"{pipeline}.{node}"}
        contexts = [mlmd.Context(type_id=self.types[kind], name=name) for kind, name in names.items()]
        execution = mlmd.Execution(type_id=self.execution_type, last_known_state=state)
        outputs = []
        if published:
            event = mlmd.Event(type=mlmd.Event.OUTPUT)
            event.path.steps.add().key = "examples"
            outputs = [(mlmd.Artifact(type_id=self.artifact_type, uri="anywhere"), event)]
        number, _, context_ids = self.store.put_execution(
            execution, outputs, contexts, reuse_context_if_already_exist=True
        )
        if not self.store.get_parent_contexts_by_context(context_ids[1]):
            self.store.put_parent_contexts([mlmd.ParentContext(child_id=context_ids[1], parent_id=context_ids[0])])
        self.write(f"{pipeline}/artifacts/{node}/examples/{number}/Split-train/data")
        return number

    def write(self, name: str) -> Path:
        """Writes a file of 10 bytes."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0123456789")
        return path

    def folders(self, place: str) -> set[str]:
        return {path.name for path in (self.folder / place).iterdir()}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_outputs_of_executions_that_did_not_complete_are_removed(workspace: Workspace) -> None:
    states = {state: workspace.execution("Trainer", state) for state in (COMPLETE, CACHED, FAILED, RUNNING)}
    published = workspace.execution("Trainer", FAILED, published=True)
    assert sweep(workspace.config()) == Removed(folders=2, size_bytes=20, executions=1)
    kept = {states[COMPLETE], states[CACHED], published}
    assert workspace.folders("topics/artifacts/Trainer/examples") == {str(number) for number in kept}
    assert sweep(workspace.config()) == NOTHING


def test_temporary_and_working_files_of_every_execution_are_removed(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    number = workspace.execution("TextExampleGen", COMPLETE)
    system = "topics/artifacts/TextExampleGen/.system"
    workspace.write(f"{system}/executor_execution/{number}/.temp/copy of the corpus")
    workspace.write(f"{system}/stateful_working_dir/5cbd/state")
    output = workspace.write(f"{system}/executor_execution/77/executor_output.pb")
    (workspace.folder / system / "driver_execution" / "1790000000").mkdir(parents=True)
    assert sweep(workspace.config()) == Removed(folders=2, size_bytes=20, executions=0)
    assert output.exists()
    assert workspace.folders(f"{system}/executor_execution") == {"77"}
    assert (
        workspace.folders(f"{system}/stateful_working_dir") == workspace.folders(f"{system}/driver_execution") == set()
    )
    assert workspace.folders("topics/artifacts/TextExampleGen/examples") == {str(number)}
    assert "Folders removed: 2, 0.0 MB. Executions in state RUNNING, now marked as interrupted: 0." in caplog.text


def test_a_killed_run_is_shown_as_interrupted(workspace: Workspace) -> None:
    workspace.execution("Transform", COMPLETE)
    workspace.execution("Trainer", RUNNING)
    reader = MetadataReader(workspace.folder / "metadata.sqlite")
    assert reader.runs()[0].verdict == "incomplete"
    sweep(workspace.config())
    (run,) = reader.runs()
    assert run.verdict == "interrupted"
    assert [(execution.node, execution.state) for execution in run.executions] == [
        ("Transform", "complete"),
        ("Trainer", "interrupted"),
    ]
    assert run.executions[1].seconds == 0


def test_other_pipelines_of_the_workspace_stay_as_they_are(workspace: Workspace) -> None:
    workspace.execution("Trainer", RUNNING, pipeline="topics-2")
    workspace.write("topics-2/artifacts/Trainer/.system/executor_execution/1/.temp/file")
    for kept in ("releases/1/saved_model.pb", "logs/1.log", "checkpoints/a.npz"):
        workspace.write(f"topics/{kept}")
    workspace.write("tfds/downloads/file")
    before = sorted(workspace.folder.rglob("*"))
    assert sweep(workspace.config()) == NOTHING
    assert sorted(workspace.folder.rglob("*")) == before
    assert [run.verdict for run in MetadataReader(workspace.folder / "metadata.sqlite").runs()] == ["incomplete"]
    assert sweep(workspace.config("topics-2")) == Removed(folders=2, size_bytes=20, executions=1)


def test_folders_that_ml_metadata_has_under_another_node_or_not_at_all_stay(workspace: Workspace) -> None:
    number = workspace.execution("Trainer", RUNNING)
    unknown = [
        workspace.write(f"topics/artifacts/Transform/transform_graph/{number}/file"),
        workspace.write("topics/artifacts/Trainer/examples/999/file"),
        workspace.write("topics/artifacts/Trainer/examples/mine/file"),
    ]
    assert sweep(workspace.config()).folders == 1
    assert all(path.exists() for path in unknown)
    (workspace.folder / "metadata.sqlite").unlink()
    assert sweep(workspace.config()) == NOTHING
    assert all(path.exists() for path in unknown)
    assert not (workspace.folder / "metadata.sqlite").exists()


@pytest.mark.parametrize(
    "linked",
    [
        "topics", "topics/artifacts", "topics/artifacts/Trainer", "topics/artifacts/Trainer/examples",
        "topics/artifacts/Trainer/.system", "topics/artifacts/Trainer/.system/executor_execution",
        "topics/artifacts/Trainer/.system/executor_execution/1", "topics/artifacts/Trainer/examples/1",
        "topics/artifacts/Trainer/examples/1/Split-train",
    ],
)  # fmt: skip
def test_links_are_not_followed(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, linked: str) -> None:
    assert workspace.execution("Trainer", RUNNING) == 1
    workspace.write("topics/artifacts/Trainer/.system/executor_execution/1/.temp/file")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "folder"
    (workspace.folder / linked).rename(elsewhere)
    (workspace.folder / linked).symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    sweep(workspace.config())
    assert sorted(elsewhere.rglob("*")) == before


def test_a_kill_in_the_middle_of_a_write_leaves_metadata_readable(workspace: Workspace) -> None:
    workspace.execution("Trainer", RUNNING)
    path = workspace.folder / "metadata.sqlite"
    # So small a cache makes SQLite write into the file before the end of the transaction.
    killed = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
for number in range(1000):
    connection.execute("INSERT INTO Context (type_id, name, create_time_since_epoch, last_update_time_since_epoch) "
                       "VALUES (1, ?, 0, 0)", (f"half-written {number}" * 20,))
os.kill(os.getpid(), signal.SIGKILL)
"""
    size = path.stat().st_size
    subprocess.run([sys.executable, "-c", killed, str(path)], check=False)
    assert path.stat().st_size > size
    assert path.with_name("metadata.sqlite-journal").stat().st_size > 0
    assert [run.verdict for run in MetadataReader(path).runs()] == ["incomplete"]
    assert not path.with_name("metadata.sqlite-journal").exists()
