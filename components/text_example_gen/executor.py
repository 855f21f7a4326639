"""Executor of TextExampleGen: two small Beam jobs around the functions of `modules.bucketed_documents`."""

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

from modules import bucketed_documents, progress, text_sources, work_pieces
from modules.bucketed_documents import BucketCounts
from modules.document_readers import Document, ReadCounts
from modules.errors import InputError
from modules.text_sources import DataSource
from modules.work_pieces import WorkPiece

NODE = "TextExampleGen"
COUNTS_FILE = "counts.json"
_REPORT_INTERVAL_S = 0.5


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes `<uri>/Split-<name>/data_tfrecord-*.gz` and `<uri>/counts.json`."""

    def Do(
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads the source and writes the Examples artifact.

        Raises:
            InputError: The source is bad, or leaves a split empty; in words that name the place and the cure.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        source = DataSource.model_validate_json(exec_properties["source"])
        weights = bucketed_documents.checked_weights(json.loads(exec_properties["splits"]))
        directory = os.path.join(self._get_tmp_dir(), "buckets")
        try:
            pieces = work_pieces.plan(source, exec_properties["data_directory"])
            buckets = bucketed_documents.number_of_buckets(sum(piece.size_bytes for piece in pieces))
            reading = self._scatter(pieces, directory, buckets)
            if reading.documents == 0:
                raise text_sources.empty_corpus(source, reading)
            kept = self._gather(examples, directory, buckets, weights)
        finally:
            if tf.io.gfile.exists(directory):
                tf.io.gfile.rmtree(directory)
        bucketed_documents.check_splits(kept, weights)
        _describe(examples, list(weights), exec_properties["input_fingerprint"])
        _record_counts(examples, reading, kept)

    def _scatter(self, pieces: list[WorkPiece], directory: str, buckets: int) -> ReadCounts:
        """Reads every piece of work and throws its documents into buckets."""
        results = os.path.join(directory, "read")
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Pieces" >> beam.Create(pieces)
                | "SpreadPieces" >> beam.Reshuffle()
                | "Scatter" >> beam.ParDo(ScatterPiece(directory, buckets))
                | "WriteReadCounts" >> beam.io.WriteToText(results, file_name_suffix=".jsonl")
            )
        total = ReadCounts()
        for row in _read_rows(results):
            if "input_error" in row:
                raise InputError(row["input_error"])
            total.add(ReadCounts(**row))
        return total

    def _gather(
        self, examples: standard_artifacts.Examples, directory: str, buckets: int, weights: dict[str, int]
    ) -> BucketCounts:
        """Turns every bucket into one file a split."""
        folders = {split: os.path.join(examples.uri, f"Split-{split}") for split in weights}
        for folder in folders.values():
            tf.io.gfile.makedirs(folder)
        results = os.path.join(directory, "kept")
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Buckets" >> beam.Create(range(buckets))
                | "SpreadBuckets" >> beam.Reshuffle()
                | "Gather" >> beam.ParDo(GatherBucket(directory, buckets, weights, folders))
                | "WriteKeptCounts" >> beam.io.WriteToText(results, file_name_suffix=".jsonl")
            )
        return BucketCounts.sum(weights, (BucketCounts(**row) for row in _read_rows(results)))


class ScatterPiece(beam.DoFn):
    """Reads one piece of work into the buckets; yields its counts, or what is wrong with the input."""

    def __init__(self, directory: str, buckets: int):
        self._directory = directory
        self._buckets = buckets
        self._meter = _Meter("reading")

    def process(self, piece: WorkPiece) -> Iterable[str]:
        counts = ReadCounts()
        try:
            bucketed_documents.scatter(
                self._metered(work_pieces.read(piece, counts)),
                self._directory,
                writer=piece.name,
                buckets=self._buckets,
            )
        except InputError as error:
            # Beam would wrap it in a traceback; as a result it reaches the user in its own words.
            yield json.dumps({"input_error": str(error)})
            return
        yield json.dumps(counts.as_dict())

    def _metered(self, documents: Iterable[Document]) -> Iterator[Document]:
        for document in documents:
            self._meter.tick()
            yield document


class GatherBucket(beam.DoFn):
    """Writes one bucket's files; yields its counts as JSON."""

    def __init__(self, directory: str, buckets: int, weights: dict[str, int], folders: dict[str, str]):
        self._directory = directory
        self._buckets = buckets
        self._weights = weights
        self._folders = folders
        self._meter = _Meter("writing")

    def process(self, bucket: int) -> Iterable[str]:
        name = f"data_tfrecord-{bucket:05d}-of-{self._buckets:05d}.gz"
        counts = bucketed_documents.gather_bucket(
            self._directory,
            bucket,
            weights=self._weights,
            shard_path=lambda split: os.path.join(self._folders[split], name),
            on_document=self._meter.tick,
        )
        yield counts.model_dump_json()


class _Meter:
    """Counts documents and reports them now and then; every worker tells what it did itself."""

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


def _read_rows(prefix: str) -> Iterator[dict[str, Any]]:
    for path in sorted(tf.io.gfile.glob(f"{prefix}-*")):
        with tf.io.gfile.GFile(path) as handle:
            for line in handle:
                yield json.loads(line)


def _describe(examples: standard_artifacts.Examples, splits: list[str], input_fingerprint: str) -> None:
    """Sets what TFX's own ExampleGens set, so that every stock component reads the artifact."""
    examples.split_names = artifact_utils.encode_split_names(splits)
    examples.set_int_custom_property(utils.SPAN_PROPERTY_NAME, 0)
    examples.set_string_custom_property(utils.FINGERPRINT_PROPERTY_NAME, input_fingerprint)
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, "tfrecords_gzip")


def _record_counts(examples: standard_artifacts.Examples, reading: ReadCounts, kept: BucketCounts) -> None:
    """Writes the counts beside the splits and to ML Metadata: `documents_train`, `bytes_train` and so on."""
    dropped = {
        "exact_duplicates_dropped": kept.exact_duplicates_dropped,
        "empty_dropped": reading.empty_dropped,
        "control_characters_dropped": reading.control_characters_dropped,
    }
    counts = {"documents": kept.documents, "bytes": kept.bytes, **dropped}
    with tf.io.gfile.GFile(os.path.join(examples.uri, COUNTS_FILE), "w") as handle:
        handle.write(json.dumps(counts, indent=2) + "\n")
    by_split = {
        f"{kind}_{split}": value
        for kind, values in (("documents", kept.documents), ("bytes", kept.bytes))
        for split, value in values.items()
    }
    for name, value in {**by_split, **dropped}.items():
        examples.set_int_custom_property(name, value)
    logging.info("Examples written: %s, dropped: %s.", by_split, dropped)
    total = sum(kept.documents.values())
    progress.report(NODE, done=total, total=total, unit="documents")
