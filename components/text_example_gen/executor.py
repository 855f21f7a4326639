"""Executor of TextExampleGen: small Beam jobs around the functions of `modules.data` and `modules.cleaning`."""

import dataclasses
import json
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf
from absl import logging
from tfx.components.example_gen import utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.artifact_types import Artifacts
from components.integrity import checked
from modules.cleaning import buckets, corpus_cleaning, filters
from modules.cleaning.buckets import TRAIN, BucketCounts, StoredDocument
from modules.cleaning.filters import CleaningSettings, keep_documents
from modules.common import progress
from modules.common.errors import InputError
from modules.data import corpus
from modules.data.corpus import WorkPiece
from modules.data.documents import CONTROL_CHARACTERS, Document, ReadCounts
from modules.data.examples import ExampleCounts
from modules.data.source import DataSource

NODE = "TextExampleGen"
REASONS = ("empty", *filters.REASONS, "exact_duplicate", "near_duplicate", "leaked")
CHANGES = (CONTROL_CHARACTERS,)
_REPORT_INTERVAL_S = 0.5


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor that writes `<uri>/Split-<name>/data_tfrecord-*.gz` and `<uri>/counts.json`."""

    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Reads the source and writes the Examples artifact.

        Raises:
            InputError: The source is bad, or a split would be empty; the message names the place and the cure.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        source = DataSource.model_validate_json(exec_properties["source"])
        settings = CleaningSettings.model_validate_json(exec_properties["cleaning"])
        weights = buckets.checked_weights(json.loads(exec_properties["splits"]))
        directory = os.path.join(self._get_tmp_dir(), "buckets")
        try:
            pieces = corpus.plan(source, exec_properties["data_directory"])
            job = _Job(
                directory=directory,
                buckets=buckets.number_of_buckets(sum(piece.size_bytes for piece in pieces)),
                weights=weights,
                settings=settings,
                folders={split: os.path.join(examples.uri, f"Split-{split}") for split in weights},
            )
            reading = self._scatter(pieces, job)
            if reading.documents == 0:
                raise corpus.empty_corpus(source, reading)
            kept = self._gather(job)
        finally:
            if tf.io.gfile.exists(directory):
                tf.io.gfile.rmtree(directory)
        kept.dropped = dict.fromkeys(REASONS, 0) | reading.dropped | kept.dropped
        buckets.check_splits(kept, weights)
        _describe(examples, list(weights), exec_properties["input_fingerprint"])
        examples.set_string_custom_property("data_kind", source.kind)
        if source.kind != "text":
            examples.set_string_custom_property("prompt_template", source.template)
        _record_counts(examples, reading, kept)

    def _scatter(self, pieces: list[WorkPiece], job: "_Job") -> ReadCounts:
        """Reads every piece of work and writes the documents that pass the filters to buckets."""
        total = ReadCounts()
        for row in self._results("read", job, pieces, ScatterPiece(job)):
            if "input_error" in row:
                raise InputError(row["input_error"])
            total.add(ReadCounts(**row))
        return total

    def _gather(self, job: "_Job") -> BucketCounts:
        """Drops duplicates and leaked documents and writes one file per bucket and split."""
        for folder in job.folders.values():
            tf.io.gfile.makedirs(folder)
        settings = job.settings
        if settings.near_duplicates is not None or settings.leakage is not None:
            list(self._results("study", job, range(job.buckets), StudyBucket(job)))
        if settings.near_duplicates is not None:
            corpus_cleaning.resolve_near_duplicates(job.directory, job.buckets, settings.near_duplicates)
        if settings.leakage is None:
            return self._write(job, tuple(job.weights))
        corpus_cleaning.collect_held_out(job.directory, job.buckets)
        # The leaked held-out documents are known only after all n-grams of train are marked.
        counts = self._write(job, (TRAIN,))
        counts.add(self._write(job, tuple(split for split in job.weights if split != TRAIN)))
        return counts

    def _write(self, job: "_Job", splits: tuple[str, ...]) -> BucketCounts:
        counts = BucketCounts.zero(splits)
        for row in self._results(f"write {' and '.join(splits)}", job, range(job.buckets), WriteBucket(job, splits)):
            counts.add(BucketCounts(**row))
        return counts

    def _results(self, name: str, job: "_Job", work: Iterable[Any], function: beam.DoFn) -> Iterator[dict[str, Any]]:
        """Runs a function on pieces of work in a Beam job; yields the JSON objects that the function returned."""
        prefix = os.path.join(job.directory, "results", name.replace(" ", "-"))
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Work" >> beam.Create(list(work))
                | "Spread" >> beam.Reshuffle()
                | name >> beam.ParDo(function)
                | "WriteResults" >> beam.io.WriteToText(prefix, file_name_suffix=".jsonl")
            )
        for path in sorted(tf.io.gfile.glob(f"{prefix}-*")):
            with tf.io.gfile.GFile(path) as handle:
                for line in handle:
                    yield json.loads(line)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Job:
    """Settings of a job, shared by all its workers.

    Attributes:
        directory: Folder of the buckets.
        buckets: Number of buckets.
        weights: Weight of each split.
        settings: Settings of the cleaning.
        folders: Folder of each split's files.
    """

    directory: str
    buckets: int
    weights: dict[str, int]
    settings: CleaningSettings
    folders: dict[str, str]


class ScatterPiece(beam.DoFn):
    """Beam function that reads a piece of work into the buckets; yields its counts, or the error of the input."""

    def __init__(self, job: _Job):
        self._job = job
        self._meter = _Meter("reading")

    def process(self, piece: WorkPiece) -> Iterable[str]:
        counts = ReadCounts()
        documents = keep_documents(corpus.read(piece, counts), self._job.settings, counts)
        try:
            buckets.scatter(self._metered(documents), self._job.directory, writer=piece.name, buckets=self._job.buckets)
        except InputError as error:
            # Beam would wrap the error in a traceback. Returned as a result, its message reaches the user unchanged.
            yield json.dumps({"input_error": str(error)})
            return
        yield json.dumps(counts.as_dict())

    def _metered(self, documents: Iterable[Document]) -> Iterator[Document]:
        for document in documents:
            self._meter.tick()
            yield document


class StudyBucket(beam.DoFn):
    """Beam function that stores the signatures and the held-out n-grams of one bucket."""

    def __init__(self, job: _Job):
        self._job = job
        self._meter = _Meter("comparing")

    def process(self, bucket: int) -> Iterable[str]:
        corpus_cleaning.study_bucket(
            self._job.directory,
            bucket,
            weights=self._job.weights,
            settings=self._job.settings,
            on_document=self._meter.tick,
        )
        yield "{}"


class WriteBucket(beam.DoFn):
    """Beam function that writes one bucket's files of some splits; yields its counts as JSON."""

    def __init__(self, job: _Job, splits: tuple[str, ...]):
        self._job = job
        self._splits = splits
        self._meter = _Meter("writing")
        self._leakage: corpus_cleaning.Leakage | None = None

    def setup(self) -> None:
        if self._job.settings.leakage is not None:
            self._leakage = corpus_cleaning.Leakage(self._job.directory)
            if TRAIN not in self._splits:
                self._leakage.load_marks(self._job.buckets)

    def process(self, bucket: int) -> Iterable[str]:
        near_duplicates = corpus_cleaning.NearDuplicates(self._job.directory, bucket)
        limit = self._job.settings.leakage

        def drop_reason(document: StoredDocument, split: str) -> str | None:
            if document in near_duplicates:
                return "near_duplicate"
            if self._leakage is None or limit is None:
                return None
            if split == TRAIN:
                self._leakage.mark(document)
                return None
            return "leaked" if self._leakage.overlap(document) >= limit else None

        name = f"data_tfrecord-{bucket:05d}-of-{self._job.buckets:05d}.gz"
        counts = BucketCounts.zero()
        written = buckets.write_bucket(
            # Exact duplicates are counted once, when the train split is written.
            buckets.unique_documents(self._job.directory, bucket, counts if TRAIN in self._splits else None),
            weights=self._job.weights,
            splits=self._splits,
            shard_path=lambda split: os.path.join(self._job.folders[split], name),
            drop_reason=drop_reason,
            on_document=self._meter.tick,
        )
        counts.add(written)
        if self._leakage is not None and TRAIN in self._splits:
            self._leakage.save_marks(bucket)
        yield counts.model_dump_json()


class _Meter:
    """Counter of documents that reports its progress at intervals; each worker reports its own documents."""

    def __init__(self, phase: str):
        self._phase = phase
        self._documents = 0
        self._reported_s = 0.0

    def tick(self) -> None:
        self._documents += 1
        now = time.monotonic()
        if now - self._reported_s >= _REPORT_INTERVAL_S:
            self._reported_s = now
            progress.report(NODE, done=self._documents, total=None, unit="documents", phase=self._phase)


def _describe(examples: standard_artifacts.Examples, splits: list[str], input_fingerprint: str) -> None:
    """Sets the same properties as TFX's own ExampleGens, so that stock components can read the artifact."""
    examples.split_names = artifact_utils.encode_split_names(splits)
    examples.set_int_custom_property(utils.SPAN_PROPERTY_NAME, 0)
    examples.set_string_custom_property(utils.FINGERPRINT_PROPERTY_NAME, input_fingerprint)
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, "tfrecords_gzip")


def _record_counts(examples: standard_artifacts.Examples, reading: ReadCounts, kept: BucketCounts) -> None:
    """Writes the counts next to the splits and to ML Metadata: `documents_train`, `dropped_too_short` and so on."""
    counts = ExampleCounts(
        documents=kept.documents,
        bytes=kept.bytes,
        dropped=kept.dropped,
        changed=dict.fromkeys(CHANGES, 0) | reading.changed,
        secrets=reading.secrets,
        secret_places=reading.secret_places,
    )
    counts.write(examples.uri)
    for kind in ("documents", "bytes", "dropped", "changed"):
        for name, value in getattr(counts, kind).items():
            examples.set_int_custom_property(f"{kind}_{name}", value)
    examples.set_int_custom_property("secrets_found", sum(reading.secrets.values()))
    logging.info("Examples written: %s", counts)
    total = sum(kept.documents.values())
    progress.report(NODE, done=total, total=total, unit="documents")
