"""Removal of what killed and failed runs of a pipeline have left in its workspace.

TFX cleans up after a node that fails, though not its working files, and not after SIGKILL. A killed run leaves its
node's execution in state RUNNING in ML Metadata, and the node's temporary files and half-written outputs on disk.
"""

import contextlib
import dataclasses
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from modules.common import formatting
from pipeline.config import PipelineConfig
from pipeline.metadata.reader import INTERRUPTED

_ENDED = (mlmd.Execution.COMPLETE, mlmd.Execution.CACHED)
_ACTIVE = (mlmd.Execution.NEW, mlmd.Execution.RUNNING)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Removed:
    """Amount of what a sweep removed.

    Attributes:
        folders: Number of folders.
        size_bytes: Bytes of their files.
        executions: Number of executions that were in state RUNNING and are now failed.
    """

    folders: int
    size_bytes: int
    executions: int


def sweep(config: PipelineConfig) -> Removed:
    """Removes what earlier runs of this pipeline left, and marks their executions as interrupted.

    Call it only with the pipeline's lock. It touches only the folder of this pipeline's artifacts, follows no links,
    and removes an output only if ML Metadata shows that its execution did not complete. So after a loss of ML Metadata
    all outputs stay.

    Returns:
        What was removed; a line of the log reports it.
    """
    unfinished, interrupted = _unfinished_executions(config.metadata_path, config.name)
    # A workspace may be a link; a link inside it could lead to the folder of another pipeline.
    root = config.pipeline_root
    nodes = [] if root.parent.is_symlink() else _folders(root)
    sizes = [_remove(folder) for node in nodes for folder in _remains(node, unfinished)]
    for node in nodes:
        _remove_empty_folders(node)
    removed = Removed(folders=len(sizes), size_bytes=sum(sizes), executions=interrupted)
    if removed.folders or removed.executions:
        logging.getLogger("absl").warning(
            "Swept what killed and failed runs had left. Folders removed: %d, %s. Executions in state RUNNING, now "
            "marked as interrupted: %d.",
            removed.folders,
            formatting.size(removed.size_bytes),
            removed.executions,
        )
    return removed


def _unfinished_executions(metadata_path: Path, pipeline: str) -> tuple[dict[int, str], int]:
    """Marks the active executions of a pipeline as failed and interrupted.

    Returns:
        Id and node of all executions that did not complete and have no outputs in ML Metadata, and the number of
        executions that were active.
    """
    if not metadata_path.is_file():
        return {}, 0
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(metadata_path)
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE
    store = metadata_store.MetadataStore(config)
    context = store.get_context_by_type_and_name("pipeline", pipeline)
    if context is None:
        return {}, 0
    executions = store.get_executions_by_context(context.id)
    active = [execution for execution in executions if execution.last_known_state in _ACTIVE]
    for execution in active:
        execution.last_known_state = mlmd.Execution.FAILED
        execution.custom_properties[INTERRUPTED].int_value = 1
    if active:
        store.put_executions(active)
    ids = [execution.id for execution in executions if execution.last_known_state not in _ENDED]
    events = store.get_events_by_execution_ids(ids) if ids else []
    recorded = {event.execution_id for event in events if event.type != mlmd.Event.INPUT}
    return {number: _node_of(store, number, pipeline) for number in ids if number not in recorded}, len(active)


def _node_of(store: metadata_store.MetadataStore, execution_id: int, pipeline: str) -> str:
    """Returns the id of an execution's node; TFX names the node's context `<pipeline>.<node>`."""
    names = [context.name for context in store.get_contexts_by_execution(execution_id)]
    return next((name.removeprefix(f"{pipeline}.") for name in names if name.startswith(f"{pipeline}.")), "")


def _remains(node: Path, unfinished: Mapping[int, str]) -> Iterator[Path]:
    """Yields the folders of a node that no run needs any more: temporary files, working files and partial outputs."""
    system = node / ".system"
    if not system.is_symlink():
        for execution in _folders(system / "executor_execution"):
            yield from (folder for folder in _folders(execution) if folder.name == ".temp")
        yield from _folders(system / "stateful_working_dir")
    for output in _folders(node):
        if output != system:
            for folder in _folders(output):
                if folder.name.isdecimal() and unfinished.get(int(folder.name)) == node.name:
                    yield folder


def _remove_empty_folders(node: Path) -> None:
    """Removes the empty folders that TFX leaves of every execution, and outputs' folders that are empty now."""
    system = node / ".system"
    kinds = [] if system.is_symlink() else [system / "executor_execution", system / "driver_execution"]
    for folder in [*(execution for kind in kinds for execution in _folders(kind)), *_folders(node)]:
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


def _folders(folder: Path) -> list[Path]:
    """Returns the folders in a folder, without links; none if the folder itself is a link or missing."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def _remove(folder: Path) -> int:
    """Removes a folder; returns the size of its files in bytes."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += Path(place, name).lstat().st_size
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        logging.getLogger("absl").warning("%s, which an earlier run left, cannot be removed.", folder)
    return size
