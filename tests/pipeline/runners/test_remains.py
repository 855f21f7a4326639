import os
import tempfile
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from modules.common.errors import InputError
from pipeline.runners.remains import remove_remains, temporary_files_in, temporary_folder


@pytest.fixture
def store() -> metadata_store.MetadataStore:
    """ML Metadata with two pipelines, `topics` and `other`, of which each has an execution in every state."""
    connection = mlmd.ConnectionConfig()
    connection.fake_database.SetInParent()
    store = metadata_store.MetadataStore(connection)
    context_type = store.put_context_type(mlmd.ContextType(name="pipeline"))
    execution_type = store.put_execution_type(mlmd.ExecutionType(name="Trainer"))
    for pipeline in ("topics", "other"):
        context = mlmd.Context(type_id=context_type, name=pipeline)
        for state in ("COMPLETE", "CACHED", "FAILED", "RUNNING"):
            execution = mlmd.Execution(type_id=execution_type, last_known_state=state)
            store.put_execution(execution, [], [context], reuse_context_if_already_exist=True)
    return store


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_only_files_of_unfinished_executions_are_removed(tmp_path: Path, store: metadata_store.MetadataStore) -> None:
    artifacts = written(
        tmp_path / "artifacts",
        "Trainer/model/1/complete", "Trainer/model/2/cached", "Trainer/model/3/failed", "Trainer/model/4/running",
        "Trainer/model/8/running of the other pipeline", "Trainer/model/9/unknown", "Trainer/model/notes",
        "Trainer/.system/executor_execution/4/.temp/corpus", "Trainer/.system/stateful_working_dir/4/state",
        "notes",
    )  # fmt: skip
    elsewhere = written(tmp_path / "elsewhere", "model/4/mine", "4/mine")
    (artifacts / "Evaluator").symlink_to(elsewhere)
    (artifacts / "Trainer" / "linked").symlink_to(elsewhere)
    remove_remains(artifacts, store, "topics")
    assert files(artifacts) == {
        "Trainer/model/1/complete", "Trainer/model/2/cached", "Trainer/model/8/running of the other pipeline",
        "Trainer/model/9/unknown", "Trainer/model/notes", "notes",
    }  # fmt: skip
    assert files(elsewhere) == {"model/4/mine", "4/mine"}


def test_running_executions_of_the_pipeline_are_marked_as_canceled(
    tmp_path: Path, store: metadata_store.MetadataStore
) -> None:
    remove_remains(tmp_path / "missing", store, "topics")
    states = [mlmd.Execution.State.Name(execution.last_known_state) for execution in store.get_executions()]
    assert states == ["COMPLETE", "CACHED", "FAILED", "CANCELED", "COMPLETE", "CACHED", "FAILED", "RUNNING"]


def test_the_first_run_of_a_pipeline_has_no_remains(tmp_path: Path, store: metadata_store.MetadataStore) -> None:
    remove_remains(written(tmp_path, "Trainer/model/4/mine"), store, "new")
    assert files(tmp_path) == {"Trainer/model/4/mine"}


def test_temporary_files_are_removed_at_the_end_and_at_the_start(tmp_path: Path) -> None:
    folder = written(tmp_path / "temporary", "left by a killed run")
    with temporary_files_in(folder):
        assert (files(folder), folder.stat().st_mode & 0o777) == (set(), 0o700)
        assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(folder)
        tempfile.mkstemp()
    assert not folder.exists()
    assert tempfile.gettempdir() != str(folder)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_not_removed(tmp_path: Path, kind: str) -> None:
    target = written(tmp_path / "target", "mine")
    folder = tmp_path / "temporary"
    folder.touch() if kind == "file" else folder.symlink_to(target)
    with (
        pytest.raises(InputError, match=f"{folder} must be free, or a folder of this user"),
        temporary_files_in(folder),
    ):
        pass
    assert files(target) == {"mine"}


def test_every_pipeline_has_a_short_folder_of_its_own(tmp_path: Path) -> None:
    folders = [temporary_folder(tmp_path / name) for name in ("topics", "other", "long" * 60)]
    assert len(set(folders)) == 3
    assert folders[0] == temporary_folder(tmp_path / "x" / ".." / "topics")
    assert max(len(folder.name) for folder in folders) < 40
