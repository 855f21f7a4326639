"""Read-only queries of ML Metadata, without importing TFX or TensorFlow."""

import dataclasses
import datetime
import functools
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import networkx as nx
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.mlmd_properties import plain_values
from modules.common.errors import InputError
from pipeline.metadata.database import check_database
from pipeline.metadata.run_record import RunRecord

# Custom property of an execution that a later run found in state RUNNING: its own run was killed.
INTERRUPTED = "interrupted"

# Number of runs that an error names.
_NAMED = 5
# Nine digits: Python refuses to convert thousands of them.
_LATEST = re.compile(r"latest(?:~(?P<back>[0-9]{1,9}))?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """Input or output of an execution; `properties` holds the measured values."""

    id: int
    type: str
    uri: str
    properties: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """Execution of one node in one run.

    Attributes:
        id: Id in ML Metadata.
        node: Id of the node in the DAG.
        type: TFX's name of the component: module and class.
        state: `complete`, `cached`, `failed`, `running` (also of a killed run until the pipeline's next run),
            `interrupted`, …
        started: Start in UTC.
        seconds: Time from the start to the last update; 0 if the execution was interrupted, because nothing recorded
            its end.
        inputs: Artifacts by input name.
        outputs: Artifacts by output name.
    """

    id: int
    node: str
    type: str
    state: str
    started: datetime.datetime
    seconds: float
    inputs: Mapping[str, list[Artifact]]
    outputs: Mapping[str, list[Artifact]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a pipeline.

    Attributes:
        id: Id of the run.
        pipeline: Name of the pipeline.
        executions: Executions in the order of their start.
        record: Configuration and code; None if the run was made before they were recorded, or by another runner.
    """

    id: str
    pipeline: str
    executions: list[Execution]
    record: RunRecord | None

    @property
    def started(self) -> datetime.datetime | None:
        """Returns the start of the first execution, UTC."""
        return min((execution.started for execution in self.executions), default=None)

    @property
    def seconds(self) -> float:
        """Returns the total duration of all executions in seconds."""
        return sum(execution.seconds for execution in self.executions)

    def output(self, node: str, name: str) -> Artifact | None:
        """Returns the artifact that a node wrote or took from the cache in this run; None if there is none."""
        for execution in self.executions:
            if execution.node == node and execution.outputs.get(name):
                return execution.outputs[name][0]
        return None

    def measured(self, node: str, name: str, key: str) -> Any:
        """Returns a property of a node's output artifact, or None."""
        artifact = self.output(node, name)
        return artifact.properties.get(key) if artifact else None

    @property
    def perplexity(self) -> float | None:
        """Returns the corpus perplexity of the candidate on the eval split."""
        return self.measured("Evaluator", "evaluation", "perplexity")

    @property
    def baseline_perplexity(self) -> float | None:
        """Returns the perplexity of the baseline model, or None if there was no baseline."""
        return self.measured("Evaluator", "evaluation", "baseline_perplexity")

    @property
    def release(self) -> Path | None:
        """Returns the folder of the release that this run pushed, or took from the cache; None if there is none."""
        destination = self.measured("Pusher", "pushed_model", "pushed_destination")
        return Path(destination) if destination else None

    @property
    def verdict(self) -> str:
        """Returns the outcome in a word.

        `pushed`, `refused` (by a gate), `validated` (only the data, with the lengths of rows), `failed`, `interrupted`
        (killed), or `incomplete`, also while the run goes on.
        """
        for state in ("failed", INTERRUPTED):
            if any(execution.state == state for execution in self.executions):
                return state
        if self.release:
            return "pushed"
        if self.measured("Pusher", "pushed_model", "pushed") == 0:
            return "refused"
        if self.output("AnomalyGate", "blessing") and not self.output("Transform", "transformed_examples"):
            return "validated"
        if self.output("LengthGate", "length_check") and not any(run.node == "Trainer" for run in self.executions):
            return "validated"
        return "incomplete"


class MetadataReader:
    """Reader of one SQLite database of ML Metadata.

    Example:
        >>> config = mlmd.ConnectionConfig()
        >>> config.sqlite.filename_uri = "metadata.sqlite"
        >>> store = metadata_store.MetadataStore(config)  # TFX writes the database like this
        >>> run_type = store.put_context_type(mlmd.ContextType(name="pipeline_run"))
        >>> ids = store.put_contexts([mlmd.Context(type_id=run_type, name="20261123T153909.658")])
        >>> [(run.id, run.verdict, run.perplexity) for run in MetadataReader(Path("metadata.sqlite")).runs()]
        [('20261123T153909.658', 'incomplete', None)]

    Raises:
        InputError: The database does not exist or is damaged.
    """

    def __init__(self, path: Path):
        if not os.path.lexists(path):
            raise InputError(f"no ML Metadata at {path}: nothing has run in this workspace yet.")
        check_database(path)
        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READONLY
        self._store = metadata_store.MetadataStore(config)

    def runs(self, pipeline: str | None = None) -> list[Run]:
        """Returns all runs, or those of one pipeline, newest first."""
        found = [self._run(context) for context in self._run_contexts()]
        return [run for run in found if pipeline in (None, run.pipeline)]

    def run(self, run_id: str) -> Run:
        """Returns one run.

        Raises:
            InputError: No run has this id.
        """
        context = self._store.get_context_by_type_and_name("pipeline_run", run_id)
        if context is None:
            raise self._no_run(run_id)
        return self._run(context)

    def find_run(self, name: str) -> Run:
        """Returns one run by a name that a person gives.

        Args:
            name: Id of the run, the first characters of its id, `latest`, or `latest~1` for the run before it.

        Raises:
            InputError: No run or several runs have this name.
        """
        contexts = self._run_contexts()
        if latest := _LATEST.fullmatch(name):
            found = contexts[int(latest["back"] or 0) :][:1]
        else:
            found = [context for context in contexts if context.name == name] or [
                context for context in contexts if context.name.startswith(name)
            ]
        if not found:
            raise self._no_run(name)
        if len(found) > 1:
            ids = ", ".join(context.name for context in found[:_NAMED])
            more = ", …" if len(found) > _NAMED else ""
            raise InputError(f"{len(found)} runs begin with {name!r}: {ids}{more}; give more of the id.")
        return self._run(found[0])

    def _run_contexts(self) -> list[mlmd.Context]:
        """Returns the contexts of all runs, newest first."""
        return sorted(self._store.get_contexts_by_type("pipeline_run"), key=lambda context: -context.id)

    def _no_run(self, name: str) -> InputError:
        known = ", ".join(context.name for context in self._run_contexts()[:_NAMED])
        return InputError(f"no run {name!r}; the latest are: {known or 'none'}.")

    def lineage(self, release: Path) -> nx.DiGraph:
        """Returns a graph of all artifacts and executions that led to a release.

        Args:
            release: Folder of a pushed release.

        Returns:
            Nodes are `("artifact", id)` and `("execution", id)` with the attributes `label` and `kind`; edges point
            from cause to effect.

        Raises:
            InputError: No run pushed this release.
        """
        pushed = [
            artifact
            for artifact in self._store.get_artifacts_by_type("PushedModel")
            if artifact.custom_properties["pushed_destination"].string_value == str(release.absolute())
        ]
        if not pushed:
            raise InputError(f"no run in this ML Metadata pushed {release}; see `python -m pipeline runs`.")
        graph = nx.DiGraph()
        waiting = {pushed[-1].id}
        seen: set[int] = set()
        while waiting:
            seen |= waiting
            waiting = self._add_producers(graph, waiting) - seen
        for kind, number in list(graph.nodes):
            if kind == "artifact":
                graph.nodes[kind, number].update(kind="artifact", label=self._artifacts([number])[0].type)
        return graph

    def _add_producers(self, graph: nx.DiGraph, artifact_ids: Iterable[int]) -> set[int]:
        """Adds the executions that wrote the artifacts; returns the ids of the artifacts that these executions read."""
        writes = [
            event
            for event in self._store.get_events_by_artifact_ids(list(artifact_ids))
            if event.type == mlmd.Event.OUTPUT
        ]
        # A cached execution also names the artifact as its output; the first execution wrote it.
        producers: dict[int, int] = {}
        for event in sorted(writes, key=lambda event: event.execution_id):
            producers.setdefault(event.artifact_id, event.execution_id)
        for artifact_id, execution_id in producers.items():
            node = self._node_name(execution_id)
            graph.add_node(("execution", execution_id), kind="execution", label=node)
            graph.add_edge(("execution", execution_id), ("artifact", artifact_id))
        read = set()
        for event in self._store.get_events_by_execution_ids(sorted(set(producers.values()))):
            if event.type == mlmd.Event.INPUT:
                graph.add_edge(("artifact", event.artifact_id), ("execution", event.execution_id))
                read.add(event.artifact_id)
        return read

    def _run(self, context: mlmd.Context) -> Run:
        executions = self._store.get_executions_by_context(context.id)
        events = self._store.get_events_by_execution_ids([execution.id for execution in executions])
        by_id = {artifact.id: artifact for artifact in self._artifacts({event.artifact_id for event in events})}
        files: dict[tuple[int, bool], dict[str, list[Artifact]]] = defaultdict(dict)
        for event in events:
            name = event.path.steps[0].key
            side = files[event.execution_id, event.type in (mlmd.Event.OUTPUT, mlmd.Event.INTERNAL_OUTPUT)]
            side.setdefault(name, []).append(by_id[event.artifact_id])
        return Run(
            id=context.name,
            pipeline=self._pipeline_name(context.id),
            record=RunRecord.from_properties(plain_values(context.custom_properties)),
            executions=[
                Execution(
                    id=execution.id,
                    node=self._node_name(execution.id),
                    type=execution.type,
                    state=_state(execution),
                    started=datetime.datetime.fromtimestamp(execution.create_time_since_epoch / 1000, tz=datetime.UTC),
                    seconds=_seconds(execution),
                    inputs=files[execution.id, False],
                    outputs=files[execution.id, True],
                )
                for execution in sorted(executions, key=lambda execution: execution.id)
            ],
        )

    def _artifacts(self, ids: Iterable[int]) -> list[Artifact]:
        return [
            Artifact(
                id=artifact.id,
                type=self._artifact_types[artifact.type_id],
                uri=artifact.uri,
                properties=plain_values(artifact.properties) | plain_values(artifact.custom_properties),
            )
            for artifact in self._store.get_artifacts_by_id(sorted(ids))
        ]

    @functools.cached_property
    def _artifact_types(self) -> dict[int, str]:
        return {kind.id: kind.name for kind in self._store.get_artifact_types()}

    @functools.cached_property
    def _context_types(self) -> dict[int, str]:
        return {kind.id: kind.name for kind in self._store.get_context_types()}

    def _node_name(self, execution_id: int) -> str:
        """Returns the id of an execution's node; TFX names the node's context `<pipeline>.<node>`."""
        for context in self._store.get_contexts_by_execution(execution_id):
            if self._context_types[context.type_id] == "node":
                return context.name.rpartition(".")[2]
        return str(execution_id)

    def _pipeline_name(self, run_context_id: int) -> str:
        for context in self._store.get_parent_contexts_by_context(run_context_id):
            if self._context_types[context.type_id] == "pipeline":
                return context.name
        return ""


def _state(execution: mlmd.Execution) -> str:
    if INTERRUPTED in execution.custom_properties:
        return INTERRUPTED
    return mlmd.Execution.State.Name(execution.last_known_state).lower()


def _seconds(execution: mlmd.Execution) -> float:
    if INTERRUPTED in execution.custom_properties:
        return 0.0
    return (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
