"""Executor of TextExampleGen: runs the steps of `modules.cleaning.cleaning_job` and describes their result."""

import contextlib
import functools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf
from absl import logging
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from etils import epath
from tfx.components.example_gen import utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.artifact_types import Artifacts
from components.integrity import checked
from components.mlmd_properties import set_warnings
from modules.cleaning import buckets, cleaning_job, corpus_cleaning, filters, small_corpora
from modules.cleaning.buckets import IN_TWO_SPLITS, TRAIN, BucketCounts
from modules.cleaning.cleaning_job import CleaningJob, Step
from modules.cleaning.corpus_cleaning import CONTAINS_HELD_OUT, NEAR_IN_TWO_SPLITS
from modules.cleaning.data_warnings import data_warnings, separator_warnings
from modules.cleaning.filters import CleaningSettings
from modules.common import progress
from modules.common.errors import InputError
from modules.common.files import is_local
from modules.common.worker_pool import WorkerPool, usable_processes
from modules.data import corpus
from modules.data.bad_rows import check_bad_rows, join_rejected
from modules.data.documents import CONTROL_CHARACTERS, ReadCounts
from modules.data.examples import ExampleCounts
from modules.data.source import Corpus
from modules.data.source_counts import DOCUMENTS, count_of

NODE = "TextExampleGen"
REASONS = ("empty", *filters.REASONS, "exact_duplicate", "near_duplicate", "leaked")
CHANGES = (CONTROL_CHARACTERS,)
_REPORT_INTERVAL_S = 0.5
# Memory of a process of the pool: a bucket, and the runs of words of the held-out documents of a large corpus. With
# URLs such as gs://, each process imports TensorFlow.
_PROCESS_BYTES, _REMOTE_PROCESS_BYTES = 2**29, 3 * 2**29
_PHASES: dict[Step, str] = {"read": "reading", "study": "comparing", "write": "writing"}
# Beam's names of its runners that work on this machine; None is its default.
_LOCAL_RUNNERS = (None, "DirectRunner", "FnApiRunner", "PrismRunner")
# Runs a step on the pieces of work 0 to N - 1; yields the counts of each.
Results = Callable[[Step, int], Iterable[dict[str, Any]]]


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
        sources = Corpus.model_validate_json(exec_properties["source"])
        settings = CleaningSettings.model_validate_json(exec_properties["cleaning"])
        weights = buckets.checked_weights(json.loads(exec_properties["splits"]))
        directory = os.path.join(self._get_tmp_dir(), "buckets")
        try:
            pieces = corpus.plan(sources, exec_properties["data_directory"])
            job = CleaningJob(
                directory=directory,
                pieces=tuple(pieces),
                buckets=buckets.number_of_buckets(sum(piece.size_bytes for piece in pieces)),
                weights=weights,
                settings=settings,
                folders={split: os.path.join(examples.uri, f"Split-{split}") for split in weights},
            )
            reading, kept = self._clean(job, sources)
            join_rejected(directory, examples.uri)
            kept.dropped = dict.fromkeys(REASONS, 0) | reading.dropped | kept.dropped
            try:
                small_corpora.check_splits(
                    kept,
                    weights,
                    splits_are_given=job.splits_are_given,
                    keys=lambda: corpus_cleaning.kept_split_keys(directory, job.buckets),
                )
            except InputError as error:  # a misspelled separator may be the reason
                raise InputError(" ".join([str(error), *separator_warnings(reading)])) from None
        finally:
            if tf.io.gfile.exists(directory):
                tf.io.gfile.rmtree(directory)
        _describe(examples, list(weights), exec_properties["input_fingerprint"])
        examples.set_string_custom_property("data_kind", sources.kind)
        if sources.kind != "text":
            examples.set_string_custom_property("prompt_template", sources.template)
        _record_counts(examples, reading, kept)
        shares = {} if job.splits_are_given else weights
        first = sources.sources[0]
        encoding = None if first.name else first.encoding  # sources with names may have encodings of their own
        set_warnings(
            examples,
            [*_source_warnings(kept, sources, settings), *data_warnings(reading, kept.documents, shares, encoding)],
        )

    def _clean(self, job: CleaningJob, sources: Corpus) -> tuple[ReadCounts, BucketCounts]:
        """Runs the job's steps; writes the examples and returns the counts of reading and of cleaning."""
        for folder in (job.directory, *job.folders.values()):
            epath.Path(folder).mkdir(parents=True, exist_ok=True)
        settings, reading, kept = job.settings, ReadCounts(), BucketCounts.zero(job.weights)
        with self._runner(job) as results:
            for row in results("read", len(job.pieces)):
                reading.add(ReadCounts(**row))
            check_bad_rows(reading.bad_rows)
            if reading.documents == 0:
                raise corpus.empty_corpus(sources.sources, reading)
            if settings.leakage is not None:
                corpus_cleaning.collect_held_out(job.directory, [piece.name for piece in job.pieces])
            for number, row in enumerate(results("study", job.buckets)):
                kept.add(BucketCounts(**row))
                buckets.remove_bucket(job.directory, number)  # its records take as much of the disk
            corpus_cleaning.decide(
                job.directory, job.buckets, settings, job.weights, splits_are_given=job.splits_are_given
            )
            for row in results("write", job.buckets):
                kept.add(BucketCounts(**row))
        return reading, kept

    @contextlib.contextmanager
    def _runner(self, job: CleaningJob) -> Iterator[Results]:
        """Yields a function that runs a step on all its pieces of work: on a cluster, in processes, or in this one.

        Beam's local runner works in one process, or imports TensorFlow in each of several. So processes that import
        only what cleaning needs work on this machine, and Beam where it has a cluster.
        """
        runner = PipelineOptions(self._beam_pipeline_args).view_as(StandardOptions).runner
        is_remote = not all(map(is_local, (job.directory, *job.folders.values())))
        bytes_each = _REMOTE_PROCESS_BYTES if is_remote else _PROCESS_BYTES
        processes = min(usable_processes(bytes_each), max(len(job.pieces), job.buckets))
        if runner not in _LOCAL_RUNNERS:
            yield functools.partial(self._in_beam, job)
        elif processes == 1:
            yield functools.partial(_in_this_process, cleaning_job.Steps(job))
        else:
            with WorkerPool(cleaning_job.__name__, job.request(), processes) as pool:
                yield functools.partial(_in_pool, pool, job)

    def _in_beam(self, job: CleaningJob, step: Step, count: int) -> Iterator[dict[str, Any]]:
        prefix = os.path.join(job.directory, "results", step)
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Work" >> beam.Create(range(count))
                | "Spread" >> beam.Reshuffle()
                | step >> beam.ParDo(BeamStep(job, step))
                | "WriteResults" >> beam.io.WriteToText(prefix, file_name_suffix=".jsonl")
            )
        rows: list[dict[str, Any]] = []
        for path in tf.io.gfile.glob(f"{prefix}-*"):
            with tf.io.gfile.GFile(path) as handle:
                rows += map(json.loads, handle)
        # In the order of the pieces, whichever worker had them: first places and first errors are then always the same.
        for row in sorted(rows, key=lambda row: row["number"]):
            if "input_error" in row:
                raise InputError(row["input_error"])
            yield row["result"]


class BeamStep(beam.DoFn):
    """Beam function that runs a step on a piece of work; yields its counts, or the error of the input, as JSON."""

    def __init__(self, job: CleaningJob, step: Step):
        self._job = job
        self._step = step

    def setup(self) -> None:
        self._steps = cleaning_job.Steps(self._job)

    def process(self, number: int) -> Iterable[str]:
        try:
            yield json.dumps({"number": number, "result": self._steps.run(self._step, number, lambda: None)})
        except InputError as error:
            # Beam would wrap the error in a traceback. Returned as a result, its message reaches the user unchanged.
            yield json.dumps({"number": number, "input_error": str(error)})


def _in_pool(pool: WorkerPool, job: CleaningJob, step: Step, count: int) -> Iterator[dict[str, Any]]:
    if step == "read" and any(piece.tfds_slice for piece in job.pieces):
        # TFDS needs TensorFlow, which this process has imported already.
        return _in_this_process(cleaning_job.Steps(job), step, count)
    return pool.results(step, count, _Meter(step).add)


def _in_this_process(steps: cleaning_job.Steps, step: Step, count: int) -> Iterator[dict[str, Any]]:
    meter = _Meter(step)
    for number in range(count):
        yield steps.run(step, number, lambda: meter.add(1))


class _Meter:
    """Counter of the documents that all processes have finished in a step, which reports them at intervals."""

    def __init__(self, step: Step):
        self._phase = _PHASES[step]
        self._documents = 0
        self._reported_s = 0.0

    def add(self, documents: int) -> None:
        """Counts documents."""
        self._documents += documents
        now = time.monotonic()
        if now - self._reported_s >= _REPORT_INTERVAL_S:
            self._reported_s = now
            progress.report(NODE, done=self._documents, total=None, unit="documents", phase=self._phase)


def _source_warnings(kept: BucketCounts, sources: Corpus, settings: CleaningSettings) -> list[str]:
    """Returns the warnings about documents in two splits, and about sources without documents in train."""
    found = {name: kept.dropped.get(name, 0) for name in (IN_TWO_SPLITS, NEAR_IN_TWO_SPLITS, CONTAINS_HELD_OUT)}
    warnings = []
    if sum(found.values()):
        numbers = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in found.items() if number)
        left_out = "train" if settings.drop_leaked_from == TRAIN else "eval and test"
        warnings.append(
            f"Documents that are in two splits were left out of {left_out}: {numbers}. See "
            "`data.cleaning.drop_leaked_from`."
        )
    held_out = {source.name for source in sources.sources if source.split not in (None, TRAIN)}
    return warnings + [
        f"The source {name!r} has no document in the train split."
        for name, documents in kept.train_by_source.items()
        if not documents and name not in held_out
    ]


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
    for source, documents in kept.train_by_source.items():
        examples.set_int_custom_property(count_of(DOCUMENTS, source), documents)
    examples.set_int_custom_property("secrets_found", sum(reading.secrets.values()))
    logging.info("Examples written: %s", counts)
    total = sum(kept.documents.values())
    progress.report(NODE, done=total, total=total, unit="documents")
