"""Local runner: runs the DAG with LocalDagRunner in a child process of the command line, which shows its events.

It runs under `modules.common.child_process`: if the command line ends, the run ends as on SIGTERM. Logs go to standard
error.
"""

import contextlib
import errno
import fcntl
import logging
import shutil
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from modules.common import failures, progress
from modules.common.errors import InputError
from pipeline.config import PipelineConfig
from pipeline.metadata.run_record import RunRecord
from pipeline.nodes import NODES
from pipeline.preflight import check_devices
from pipeline.request import RunRequest
from pipeline.runners import remains
from pipeline.runners.node_events import NodeEvents
from pipeline.runners.temporary_folder import own_temporary_folder

if TYPE_CHECKING:
    from ml_metadata import metadata_store
    from tfx.proto.orchestration import pipeline_pb2


def main(request_line: str) -> int:
    """Runs a request, a RunRequest as JSON; returns the exit status, 0 if every node succeeded."""
    request = RunRequest.model_validate_json(request_line)
    folder = request.config.workspace / request.config.name
    reserve = contextlib.ExitStack()
    try:
        with exclusive(folder), own_temporary_folder(folder):
            remains.sweep(request.config)
            reserve.enter_context(failures.reserved_space(folder))
            run(request)
    except Exception as error:
        reserve.close()  # the next lines need the space
        cause = find_input_error(error) or failures.disk_error(error, folder) or _permission_error(error)
        with contextlib.suppress(OSError):  # a full disk
            traceback.print_exc()
        progress.emit({"event": "failed", "input": cause is not None, "message": str(cause or _described(error))})
        return 2 if cause else 1
    progress.emit({"event": "finished"})
    return 0


def run(request: RunRequest) -> None:
    """Builds the DAG and runs it."""
    progress.emit({"event": "phase", "text": "loading TFX and TensorFlow"})
    import absl.logging
    from tfx.dsl.compiler import compiler, constants
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.portable import runtime_parameter_utils
    from tfx.proto.orchestration import pipeline_pb2

    from pipeline.dag import create_pipeline
    from pipeline.placement import Placement, checkpoint_directory

    config = request.config
    check_devices(request)
    progress.emit({"event": "phase", "text": "hashing the input files"})
    placement = Placement.local(config)
    proto = compiler.Compiler().compile(create_pipeline(config, placement, until=request.until))
    nodes = [node.pipeline_node.node_info.id for node in proto.nodes]
    runtime_parameter_utils.substitute_runtime_parameter(
        proto, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: request.run_id}
    )
    progress.emit({"event": "plan", "nodes": nodes})
    # Set through absl, because TFT changes the verbosity for a while and then restores absl's own value.
    absl.logging.set_verbosity(absl.logging.INFO)
    # Only after TFX has recorded the model; before that, the checkpoints are needed to resume.
    after = {"Trainer": lambda: remove_checkpoints(checkpoint_directory(config))}
    connection_config = placement.metadata_connection_config

    def check(execution_id: int) -> None:
        with metadata.Metadata(connection_config) as handle:
            check_cached(handle.store, execution_id)

    logging.getLogger("absl").addHandler(NodeEvents(after, on_cached=check))
    options = None
    if request.from_node:
        base = pipeline_pb2.SnapshotSettings.BasePipelineRunStrategy(
            base_run_id=base_run(config, request.from_node, nodes)
        )
        options = pipeline_pb2.RunOptions(
            partial_run=pipeline_pb2.PartialRun(
                from_nodes=[request.from_node],
                snapshot_settings=pipeline_pb2.SnapshotSettings(base_pipeline_run_strategy=base),
            )
        )
    record_start(proto, connection_config, RunRecord.of(config))
    LocalDagRunner().run_with_ir(proto, options)


def check_cached(store: "metadata_store.MetadataStore", execution_id: int) -> None:
    """Checks the outputs of a cached execution before the run uses them.

    Raises:
        InputError: A file has changed. The execution is then marked as failed.
    """
    from ml_metadata.proto import metadata_store_pb2

    from components.integrity import check_outputs

    try:
        check_outputs(store, execution_id)
    except InputError:
        [execution] = store.get_executions_by_id([execution_id])
        execution.last_known_state = metadata_store_pb2.Execution.FAILED
        store.put_executions([execution])
        raise


def remove_checkpoints(folder: Path) -> None:
    """Removes the folder of checkpoints after training; logs how many checkpoints of other training runs it held."""
    others = len(list(folder.glob("*.npz"))) - 1
    shutil.rmtree(folder, ignore_errors=True)
    if others > 0:
        logging.getLogger("absl").warning(
            "Removed %s, with %d checkpoints of interrupted training runs of other data or settings.", folder, others
        )


def record_start(proto: "pipeline_pb2.Pipeline", connection_config: Any, record: RunRecord) -> None:
    """Writes the run's context with the record to ML Metadata before the first node runs.

    So a run that fails has its record too. TFX keeps a context that already exists, and contexts are no part of the
    cache key.

    Args:
        proto: The compiled pipeline with the id of the run.
        connection_config: Connection to ML Metadata.
        record: Configuration and code of the run.
    """
    from tfx.dsl.compiler import constants
    from tfx.orchestration import metadata
    from tfx.orchestration.portable.mlmd import context_lib
    from tfx.proto.orchestration import pipeline_pb2

    contexts = pipeline_pb2.NodeContexts()
    for spec in proto.nodes[0].pipeline_node.contexts.contexts:
        if spec.type.name in (constants.PIPELINE_CONTEXT_TYPE_NAME, constants.PIPELINE_RUN_CONTEXT_TYPE_NAME):
            contexts.contexts.add().CopyFrom(spec)
        if spec.type.name == constants.PIPELINE_RUN_CONTEXT_TYPE_NAME:
            for name, value in record.to_properties().items():
                contexts.contexts[-1].properties[name].field_value.string_value = value
    with metadata.Metadata(connection_config) as handle:
        context_lib.prepare_contexts(handle, contexts)


def base_run(config: PipelineConfig, from_node: str, nodes: Sequence[str]) -> str:
    """Returns the id of the newest run that finished every node before `from_node`.

    Args:
        config: Settings with the names of the pipeline and the workspace.
        from_node: One of NODES.
        nodes: Nodes of this configuration's pipeline.

    Raises:
        InputError: There is no such run, or the pipeline has no such node.
    """
    from pipeline.metadata.reader import MetadataReader

    if from_node not in nodes:
        raise InputError(
            f"--from-node must be a node of this configuration: {', '.join(nodes)}. Received: {from_node!r}."
        )
    needed = set(NODES[: NODES.index(from_node)]) & set(nodes)
    for found in MetadataReader(config.metadata_path).runs(config.name):
        finished = {execution.node for execution in found.executions if execution.state in ("complete", "cached")}
        if needed <= finished:
            return found.id
    raise InputError(
        f"--from-node {from_node} needs an earlier run that finished all nodes before it. Run all nodes first."
    )


class exclusive:
    """Lock of a folder, for one run at a time.

    Raises:
        InputError: On entering, if another run holds the lock.
    """

    def __init__(self, folder: Path):
        self._path = folder / ".lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"another run of this pipeline is in progress ({self._path} is locked). Wait until it ends, or set "
                "another `workspace`."
            ) from error

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()


def find_input_error(error: BaseException) -> InputError | None:
    """Returns the first InputError among an exception and its causes, or None."""
    return next((seen for seen in failures.exceptions(error) if isinstance(seen, InputError)), None)


def _permission_error(error: BaseException) -> InputError | None:
    """Returns the sentence about a file that may not be read or written, or None."""
    refusals = (seen for seen in failures.exceptions(error) if isinstance(seen, OSError))
    found = next((seen for seen in refusals if seen.errno in (errno.EACCES, errno.EPERM, errno.EROFS)), None)
    return failures.path_error(found) if found else None


def _described(error: BaseException) -> str:
    """Returns the type of an exception and the first line of its message; the log has the rest."""
    lines = str(error).strip().split("\n")
    return f"{type(error).__name__}: {lines[0]}" if lines[0] else type(error).__name__
