"""Removal of what killed runs of a pipeline left behind, at the start of its next run."""

import contextlib
import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from modules.common.errors import InputError

# TFX's folder in the folder of each node: temporary files, and the state of interrupted executions.
_SYSTEM = ".system"


@contextlib.contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Makes this process and its children write their temporary files into a folder, which is removed at the end.

    Args:
        folder: See `temporary_folder`. What an earlier run left in it is removed.

    Raises:
        InputError: Something else has this path, or another user owns it.
    """
    before = os.environ.get("TMPDIR")
    if os.path.lexists(folder):
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise InputError(
                f"{folder} must be free, or a folder of this user: a run keeps its temporary files there. Received: "
                "something else. Remove it, or set TMPDIR to another folder."
            )
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    _set_temporary_folder(str(folder))
    try:
        yield
    finally:
        _set_temporary_folder(before)
        shutil.rmtree(folder, ignore_errors=True)


def temporary_folder(pipeline_folder: Path) -> Path:
    """Returns the path of a pipeline's temporary files, the same for all its runs.

    It is below the system's temporary folder and short, because the path of a Unix socket has at most 108 characters.

    Args:
        pipeline_folder: The folder of the pipeline in its workspace.
    """
    digest = hashlib.sha256(os.fsencode(pipeline_folder.resolve())).hexdigest()[:12]
    return Path(tempfile.gettempdir(), f"tfx-gpt2-{os.getuid()}-{digest}")


def _set_temporary_folder(path: str | None) -> None:
    if path is None:
        os.environ.pop("TMPDIR", None)
    else:
        os.environ["TMPDIR"] = path
    tempfile.tempdir = None  # `tempfile` then reads the variable again


def remove_remains(artifacts: Path, store: metadata_store.MetadataStore, pipeline: str) -> None:
    """Removes files of interrupted executions, and marks these executions as canceled in ML Metadata.

    No other run of the pipeline may be in progress. Only folders that TFX created are removed: its temporary files, and
    the outputs of executions that did not finish.

    Args:
        artifacts: The folder of the pipeline's artifacts, `<artifacts>/<node>/<output>/<execution id>`.
        store: ML Metadata.
        pipeline: Name of the pipeline.
    """
    unfinished = _cancel_executions(store, pipeline)
    removed = 0
    for node in _folders(artifacts):
        remains = [version for output in _folders(node) for version in _folders(output) if version.name in unfinished]
        for folder in remains:
            shutil.rmtree(folder)
        removed += len(remains)
        if (node / _SYSTEM).is_dir() and not (node / _SYSTEM).is_symlink():
            shutil.rmtree(node / _SYSTEM)
    if removed:
        logging.getLogger("absl").info("Removed %d folders of interrupted nodes in %s.", removed, artifacts)


def _cancel_executions(store: metadata_store.MetadataStore, pipeline: str) -> set[str]:
    """Marks executions that killed runs left; returns the ids of all executions of the pipeline without outputs."""
    context = store.get_context_by_type_and_name("pipeline", pipeline)
    if context is None:
        return set()
    executions = store.get_executions_by_context(context.id)
    running = [found for found in executions if found.last_known_state in (mlmd.Execution.NEW, mlmd.Execution.RUNNING)]
    for execution in running:
        execution.last_known_state = mlmd.Execution.CANCELED
    if running:
        store.put_executions(running)
    finished = (mlmd.Execution.COMPLETE, mlmd.Execution.CACHED)
    return {str(execution.id) for execution in executions if execution.last_known_state not in finished}


def _folders(parent: Path) -> list[Path]:
    """Returns the folders in a folder, without links; none if it does not exist."""
    if not parent.is_dir():
        return []
    return [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink()]
