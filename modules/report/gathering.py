"""Functions that read a run's report from the artifacts of its nodes."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from modules.cleaning.secrets import find_secrets
from modules.common.files import folder_size_bytes, without_folders
from modules.common.json_files import read_json
from modules.data.examples import ExampleCounts, read_examples, split_files
from modules.data.source import SPLITS, described_sources
from modules.evaluation import gates
from modules.evaluation.results import Evaluation
from modules.evaluation.task_figures import read_task_figures
from modules.evaluation.tflite_results import FileResult, read_results
from modules.export.tflite_files import Precision
from modules.report.contents import (
    Data,
    DocumentSample,
    LineageItem,
    Model,
    Report,
    ShippedFile,
    Split,
)
from modules.report.environment import describe_environment
from modules.report.sources import source_figures
from modules.training.record import TrainingRecord

SAMPLES = 4
SAMPLE_CHARACTERS = 600
_SEARCHED_FOR_SAMPLES = 500
_DROPPED, _CHANGED = "dropped_", "changed_"
# The property of every artifact that holds lines for people; `components.mlmd_properties` sets it.
_WARNINGS = "warnings"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceArtifact:
    """An artifact that the report describes: id and type in ML Metadata, folder, properties."""

    id: int
    type: str
    folder: epath.Path
    properties: Mapping[str, Any]


def gather(
    artifacts: Mapping[str, SourceArtifact], *, pipeline: str, run: str, configuration: Mapping[str, Any]
) -> Report:
    """Reads the report of a run from the files of its nodes.

    Args:
        artifacts: `examples`, `transformed_examples`, `model`, `model_run`, `task_evaluation`, `evaluation`,
            `blessing`, `model_fp16`, `model_int8`, `tflite_evaluation`, `baseline_model` if there is one, and
            `length_check` for instructions and preferences.
        pipeline: The pipeline's name.
        run: The run's id.
        configuration: All settings of the run, as JSON.

    Raises:
        OSError: A node's file is missing.
        pydantic.ValidationError: A file lacks a value or has one of another type.
    """
    evaluation = Evaluation.read(artifacts["evaluation"].folder)
    training = TrainingRecord.read(artifacts["model_run"].folder)
    tflite_files = read_results(artifacts["tflite_evaluation"].folder)
    model_checks = [
        check for name in ("task_evaluation", "evaluation") for check in gates.read_checks(artifacts[name].folder)
    ]
    file_checks = gates.read_checks(artifacts["tflite_evaluation"].folder)
    verdict = gates.verdict(
        model_checks,
        # TFX's own Pusher uses this marker too.
        blessed=epath.Path(artifacts["blessing"].folder, "BLESSED").is_file(),
        file_checks=file_checks,
        released={precision: file.released for precision, file in tflite_files.items()},
        may_ship=artifacts["tflite_evaluation"].properties.get("blessed") == 1,
    )
    shown = without_folders({name: value for name, value in configuration.items() if name != "workspace"})
    return Report(
        pipeline=pipeline,
        run=run,
        verdict=verdict,
        checks=(*model_checks, *file_checks),
        warnings=tuple(
            line for artifact in _of_this_run(artifacts) for line in artifact.properties.get(_WARNINGS, "").splitlines()
        ),
        data=_data(artifacts, shown["data"]),
        model=_model(artifacts["model"], shown["model"], training),
        training=training,
        evaluation=evaluation,
        tasks=tuple(read_task_figures(artifacts["task_evaluation"].folder)),
        files=tuple(_files(artifacts, tflite_files, evaluation, blessed=verdict.blessed)),
        environment=describe_environment(),
        lineage=tuple(
            LineageItem(name=name, type=artifact.type, id=artifact.id) for name, artifact in artifacts.items()
        ),
        configuration=shown,
    )


def _data(artifacts: Mapping[str, SourceArtifact], settings: Mapping[str, Any]) -> Data:
    examples = artifacts["examples"]
    properties = examples.properties
    tokens = artifacts["transformed_examples"].properties
    return Data(
        source=described_sources(settings),
        kind=properties["data_kind"],
        prompt_template=properties.get("prompt_template"),
        input_fingerprint=properties["input_fingerprint"],
        splits=tuple(
            Split(
                name=name,
                documents=properties[f"documents_{name}"],
                size_bytes=properties[f"bytes_{name}"],
                tokens=tokens.get(f"tokens_{name}"),
            )
            for name in SPLITS
            if f"documents_{name}" in properties
        ),
        dropped=_counted(artifacts, _DROPPED),
        changed=_counted(artifacts, _CHANGED),
        secrets=ExampleCounts.read(examples.folder).secrets,
        samples=tuple(_samples(examples.folder)),
        sources=source_figures(properties, tokens, artifacts["model_run"].properties),
    )


def _counted(artifacts: Mapping[str, SourceArtifact], prefix: str) -> dict[str, int]:
    """Returns the numbers above 0 that the nodes counted under names with this prefix, by name in words.

    Numbers of several nodes under one name are added up.
    """
    numbers: Counter[str] = Counter()
    for artifact in _of_this_run(artifacts):
        for name, number in artifact.properties.items():
            if name.startswith(prefix) and number:
                numbers[name.removeprefix(prefix).replace("_", " ")] += number
    return dict(numbers)


def _of_this_run(artifacts: Mapping[str, SourceArtifact]) -> list[SourceArtifact]:
    return [artifact for name, artifact in artifacts.items() if name != "baseline_model"]


def _samples(folder: epath.Path) -> Iterator[DocumentSample]:
    """Yields the beginnings of train documents, from different sources if possible.

    Documents with a passage that looks like a secret are left out. The place of a document in its file depends on its
    hash, so the first documents are a random sample.
    """
    chosen: dict[str, DocumentSample] = {}
    spare: list[DocumentSample] = []
    examples = read_examples(split_files(str(folder / "Split-train")))
    for values in itertools.islice(examples, _SEARCHED_FOR_SAMPLES):
        # Prompts and completions alternate.
        turns = zip(values.get("prompt", []), values.get("completion", []), strict=True)
        text = "".join([*values.get("text", []), *itertools.chain(*turns)])
        if next(find_secrets(text), None) is not None:
            continue
        source = "".join(values.get("source", []))
        sample = DocumentSample(source=without_folders(source), text=shortened(text, SAMPLE_CHARACTERS))
        if chosen.setdefault(source, sample) is not sample:
            spare.append(sample)
        if len(chosen) == SAMPLES:
            break
    yield from [*chosen.values(), *spare][:SAMPLES]


def shortened(text: str, characters: int) -> str:
    """Returns the text, or its beginning and an ellipsis if it is longer than `characters`."""
    return text if len(text) <= characters else text[:characters].rstrip() + " …"


def _model(model: SourceArtifact, settings: Mapping[str, Any], training: TrainingRecord) -> Model:
    sizes = read_json(model.folder, "preset/config.json")["config"]
    return Model(
        start=_start(settings, training),
        parameters=training.parameters,
        **{name: sizes[name] for name in ("num_layers", "num_heads", "hidden_dim", "vocabulary_size")},
        context_length=settings["context_length"],
    )


def _start(settings: Mapping[str, Any], training: TrainingRecord) -> str:
    if training.warm_start:
        return "the latest blessed model"
    return f"the preset {settings['preset']}" if settings["preset"] else "a random start"


def _files(
    artifacts: Mapping[str, SourceArtifact],
    tflite_files: Mapping[Precision, FileResult],
    evaluation: Evaluation,
    *,
    blessed: bool,
) -> Iterator[ShippedFile]:
    saved_model = epath.Path(artifacts["model"].folder, "Format-Serving")
    yield ShippedFile(
        name="SavedModel",
        size_bytes=folder_size_bytes(saved_model),
        sha256=None,
        measured=None,
        perplexity=evaluation.overall.candidate.perplexity,
        decode_tokens_per_second=next((file.float_decode_tokens_per_second for file in tflite_files.values()), None),
        released=blessed,
    )
    for key in ("model_fp16", "model_int8"):
        properties = artifacts[key].properties
        measured = tflite_files.get(properties["precision"])
        yield ShippedFile(
            name=f"TFLite {properties['precision']}",
            size_bytes=properties["size_bytes"],
            sha256=properties["sha256"],
            measured=measured,
            perplexity=measured.perplexity if measured else None,
            decode_tokens_per_second=measured.decode_tokens_per_second if measured else None,
            released=blessed and measured is not None and measured.released,
        )
