"""Place where a pipeline runs, this machine or Vertex Pipelines, and the fingerprints of its input files."""

import dataclasses
from pathlib import Path
from typing import Any, Self, TypedDict

from modules.data import corpus
from modules.evaluation import tasks
from modules.release import manifest
from modules.tokenization import tokenizer_files
from pipeline.code_fingerprint import ROOT
from pipeline.config import PipelineConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """Place where a pipeline runs, with the fingerprints of its input files.

    Attributes:
        pipeline_root: Folder of TFX's artifacts.
        push_directory: Folder of the releases.
        push_directory_id: Id of the push directory. A directory that is created anew has a new id, and the Pusher runs
            again.
        data_directory: Folder in which TFDS prepares data sets.
        data_fingerprint: Hash of the input text; a changed text re-runs the DAG.
        tokenizer_fingerprint: Hash of the vocabulary files in use.
        preset_fingerprint: Hash of the files of `model.preset`.
        training_fingerprint: Hash of the files that `training` names.
        task_fingerprint: Hash of the files of `evaluation.tasks`.
        checkpoint_directory: Folder of the checkpoints of an interrupted training run; None: none are written.
        project: Folder of this project in that place.
        own_strategies: Whether resolvers may use the project's strategies; Vertex supports only those of TFX.
        metadata_connection_config: Connection to ML Metadata; None if the orchestrator has its own.
    """

    pipeline_root: str
    push_directory: str
    push_directory_id: str
    data_directory: str
    data_fingerprint: str
    tokenizer_fingerprint: str
    preset_fingerprint: str
    training_fingerprint: str
    task_fingerprint: str
    checkpoint_directory: str | None = None
    project: Path = ROOT
    own_strategies: bool = True
    metadata_connection_config: Any = None

    @classmethod
    def local(cls, config: PipelineConfig) -> Self:
        """Returns the placement in the workspace on this machine; reads all input files."""
        from tfx.orchestration import metadata

        return cls(
            pipeline_root=str(config.pipeline_root.absolute()),
            push_directory=str(config.push_directory.absolute()),
            push_directory_id=manifest.directory_id(config.push_directory),
            data_directory=str((config.workspace / "tfds").absolute()),
            checkpoint_directory=str(checkpoint_directory(config)),
            metadata_connection_config=metadata.sqlite_metadata_connection_config(str(config.metadata_path.absolute())),
            **_fingerprints(config),
        )

    @classmethod
    def vertex(cls, config: PipelineConfig, pipeline_root: str) -> Self:
        """Returns the placement below a folder of Cloud Storage; reads all input files.

        Args:
            config: Settings of the run.
            pipeline_root: `gs://` folder of artifacts, with releases under `releases/` and TFDS data under `tfds/`.
        """
        root = pipeline_root.rstrip("/")
        return cls(
            pipeline_root=root,
            push_directory=f"{root}/releases",
            push_directory_id="",
            data_directory=f"{root}/tfds",
            project=Path(),  # in the image the project is the working directory
            own_strategies=False,
            **_fingerprints(config),
        )


def checkpoint_directory(config: PipelineConfig) -> Path:
    """Returns the folder of the checkpoints of this pipeline's interrupted training runs on this machine."""
    return (config.workspace / config.name / "checkpoints").absolute()


class _Fingerprints(TypedDict):
    data_fingerprint: str
    tokenizer_fingerprint: str
    preset_fingerprint: str
    training_fingerprint: str
    task_fingerprint: str


def _fingerprints(config: PipelineConfig) -> _Fingerprints:
    """Returns the hashes of all files that a run reads, by the attributes of Placement."""
    return {
        "data_fingerprint": corpus.corpus_fingerprint(config.data.to_corpus()),
        "tokenizer_fingerprint": tokenizer_files.fingerprint(config.tokenizer.settings()),
        "preset_fingerprint": config.model.fingerprint(),
        "training_fingerprint": config.training.fingerprint(),
        "task_fingerprint": tasks.fingerprint(config.evaluation.tasks),
    }
