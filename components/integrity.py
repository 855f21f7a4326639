"""Integrity of artifacts: a node's files are hashed when it has written them, and checked when another node reads them.

The hashes are properties of the artifacts in ML Metadata. So a file that changes between two nodes is noticed before
anything is made from it.
"""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from absl import logging
from etils import epath
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.types import artifact

from components.artifact_types import Artifacts
from components.mlmd_properties import MEASURED_FILES, WRITTEN_FILES
from modules.common.errors import InputError
from modules.common.files import differing_files, folder_hashes
from modules.release import verification
from modules.release.manifest import Manifest

Hashes = Mapping[str, str]


def checked(do: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates an executor's method `Do`: checks its inputs before it runs, and records its outputs afterwards.

    Raises:
        InputError: See `check_artifact`.
    """

    @functools.wraps(do)
    def checked_do(self: Any, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> Any:
        for written in _artifacts(output_dict):
            _check_empty(written)
        for found in _artifacts(input_dict):
            check_artifact(found)
        result = do(self, input_dict, output_dict, exec_properties)
        for found in _artifacts(input_dict):  # a file may also change while a node reads it
            check_artifact(found)
        for key, artifacts in output_dict.items():
            for number, written in enumerate(artifacts):
                record = json.dumps({"node": _node(self), "sha256": folder_hashes(written.uri)})
                written.set_string_custom_property(WRITTEN_FILES, record)
                if result:  # some executors return a description of their outputs, which TFX then records
                    described = result.output_artifacts[key].artifacts[number]
                    described.custom_properties[WRITTEN_FILES].string_value = record
        return result

    return checked_do


def _artifacts(artifacts: Artifacts) -> list[artifact.Artifact]:
    return [found for group in artifacts.values() for found in group]


def _check_empty(output: artifact.Artifact) -> None:
    """Checks that nothing is in the folder of an output yet: it would be taken for a part of this output."""
    for path in folder_hashes(output.uri):
        raise InputError(
            f"the folder of a new artifact must be empty. Received: {epath.Path(output.uri, path)}, perhaps of a run "
            f"that ML Metadata does not know. Move or delete the folder {output.uri}, and run again."
        )


def _node(executor: Any) -> str:
    """Returns the id of the executor's node, or the name of its module where the orchestrator does not know the id."""
    node = executor._context.pipeline_node if executor._context else None
    return node.node_info.id if node else type(executor).__module__


def check_artifact(found: artifact.Artifact) -> None:
    """Checks that the files of an artifact are those that its node wrote.

    Raises:
        InputError: A file was changed, added or removed since.
    """
    record = found.get_string_custom_property(WRITTEN_FILES)
    if not record:
        logging.warning("%s has no recorded hashes: an older version wrote it, and it cannot be checked.", found.uri)
        return
    check_files(found.uri, **json.loads(record))


def check_files(folder: str, *, sha256: Hashes, node: str) -> None:
    """Checks that a folder holds exactly the recorded files.

    Args:
        folder: Folder of an artifact; a path or a URL such as `gs://bucket/x`.
        sha256: Recorded hashes, by path relative to the folder.
        node: Id of the node that wrote the artifact, for the message.

    Raises:
        InputError: A file was changed, added or removed since.
    """
    now = folder_hashes(folder)
    for path in differing_files(sha256, now):
        problem = "whose content is another"
        cure = f"Delete the folder {folder} and run again without `--from-node`"
        if path not in now:
            problem = "which is gone"
        elif path not in sha256:
            problem, cure = "which is new", f"Remove this file, if nothing needs it. Or d{cure[1:]}"
        raise InputError(
            f"the files of an artifact must be as {node} wrote them. Received: {epath.Path(folder, path)}, {problem}. "
            f"{cure}: then {node} and the nodes after it run again."
        )


def check_outputs(store: metadata_store.MetadataStore, execution_id: int) -> None:
    """Checks the outputs of an execution, which may be cached, before a run uses them.

    Raises:
        InputError: See `check_artifact`.
    """
    events = store.get_events_by_execution_ids([execution_id])
    written = [event.artifact_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT]
    for found in store.get_artifacts_by_id(written):
        properties = found.custom_properties
        if WRITTEN_FILES in properties:
            check_files(found.uri, **json.loads(properties[WRITTEN_FILES].string_value))
        if "pushed_destination" in properties:
            _check_release(properties["pushed_destination"].string_value, found.uri)


def _check_release(release: str, pushed_model_uri: str) -> None:
    try:
        verification.check_files(release, Manifest.read(release))
    except InputError as error:
        raise InputError(f"{error} To publish it again, delete the folder {pushed_model_uri} and run again.") from None


def record_measured(evaluation: artifact.Artifact, measured: Mapping[str, artifact.Artifact]) -> None:
    """Records in an evaluation which files it measured.

    Args:
        evaluation: The output of the node that measures.
        measured: Its inputs by name, after `checked` has checked them.
    """
    hashes = {}
    for name, found in measured.items():
        record = found.get_string_custom_property(WRITTEN_FILES)
        hashes[name] = json.loads(record)["sha256"] if record else folder_hashes(found.uri)
    evaluation.set_string_custom_property(MEASURED_FILES, json.dumps(hashes))


def measured_hashes(evaluation: artifact.Artifact) -> dict[str, Hashes]:
    """Returns the hashes of `record_measured`: SHA-256 by input name and by path in the artifact.

    Raises:
        InputError: An older version, which recorded none, made the evaluation.
    """
    record = evaluation.get_string_custom_property(MEASURED_FILES)
    if not record:
        raise InputError(
            "what is published must have been measured by this version. Received: the evaluation in "
            f"{evaluation.uri}, of an older version. Run again without `--from-node`."
        )
    return json.loads(record)
