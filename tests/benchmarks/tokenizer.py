"""Tokens per second of the graph tokenizer and of its peers on the same text in one run: `make bench-tokenizer`.

There are two vocabularies: GPT-2's, on Python's help texts (or on WikiText-2's valid part and tinyshakespeare where the
shared data exist), and a vocabulary of 2,257 tokens that is trained on the help texts, with the table of frequent words
that Transform writes for it. The texts are documents of 1 kB. Every runtime starts with the
documents as strings in memory and ends with token ids in its own container. The runtimes take turns, so that a busy
machine slows all of them, and the best turn counts. The time to load a vocabulary is not counted.

The last line of the output contains the figures as JSON.
"""

import functools
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# `tokenizers` reads this at each call; only the runtime that uses all cores switches it on.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import apache_beam as beam
import keras_hub
import pyarrow as pa
import rich
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions
from google.protobuf import text_format
from rich.table import Table
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio

from modules.tokenization.bpe_training import train_and_encode
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer
from modules.tokenization.preprocessing import preprocessing_fn
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_table, write_tokenizer_folder
from pipeline.dag import BEAM_ARGS
from tests.toys.examples import example
from tests.toys.tokenizer_reference import (
    corpus,
    corpus_word_counts,
    gpt2_vocabulary,
    reference_tokenizer,
    shared_texts,
    tiktoken_encoding,
)

TURNS = 5
OWN_MERGES = 2000
DOCUMENT_CHARACTERS = 1000
BATCH_SIZE = 256
# keras-hub's tokenizer would take minutes for the whole text, so it gets every 20th document, in one turn.
SLOW_SHARE = 20
# A turn of tf.data and of Transform repeats the text up to this size, like an epoch of training. The start of a dataset
# (0.1 s) is counted, but does not dominate.
TURN_MB = 9
SCHEMA = """
feature { name: "text" type: BYTES presence { min_fraction: 1 } shape { dim { size: 1 } } }
feature { name: "source" type: BYTES presence { min_fraction: 1 } shape { dim { size: 1 } } }
"""


@dataclass
class Runtime:
    """One way to tokenize the text, with its measured turns.

    Attributes:
        name: Name in the table.
        run: Tokenizes the text once.
        share: Number of times that `run` processes the text, or the part that it processes.
        turns: Number of turns.
        start_up: Work of a turn before any text; it takes turns too, and its time is subtracted.
        seconds: Duration of each turn.
    """

    name: str
    run: Callable[[], object]
    share: float = 1.0
    turns: int = TURNS
    start_up: "Runtime | None" = None
    seconds: list[float] = field(default_factory=list)

    def take_turn(self) -> None:
        """Runs and measures one turn, unless all turns were taken."""
        if len(self.seconds) < self.turns:
            self.seconds.append(elapsed_seconds(self.run))
            if self.start_up:
                self.start_up.take_turn()

    def texts_per_second(self, summary: Callable[[list[float]], float] = min) -> float:
        """Returns how many times per second the text would be tokenized."""
        return self.share / (summary(self.seconds) - (summary(self.start_up.seconds) if self.start_up else 0.0))


def elapsed_seconds(run: Callable[[], object]) -> float:
    """Returns the wall-clock time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A text and the vocabulary with which it is tokenized.

    Attributes:
        documents: The text in documents of about 1 kB.
        vocabulary: The vocabulary.
        frequent_words: Words with known tokens in the vocabulary's table.
    """

    documents: list[str]
    vocabulary: Vocabulary
    frequent_words: Mapping[bytes, Sequence[int]]

    @property
    def size_mb(self) -> float:
        """Size of the text in megabytes."""
        return sum(len(document.encode()) for document in self.documents) / 1e6


def with_gpt2_vocabulary() -> Subject:
    """Returns English text with GPT-2's vocabulary."""
    texts = list(shared_texts().values()) or corpus()
    return Subject(documents=cut_documents(texts), vocabulary=gpt2_vocabulary(), frequent_words={})


def with_own_vocabulary() -> Subject:
    """Returns Python's help texts with a vocabulary that is trained on them."""
    merges, frequent_words = train_and_encode(corpus_word_counts(), OWN_MERGES)
    vocabulary = Vocabulary.from_merges(merges)
    return Subject(documents=cut_documents(corpus()), vocabulary=vocabulary, frequent_words=frequent_words)


def cut_documents(texts: Iterable[str]) -> list[str]:
    """Cuts texts at ends of lines into documents of about 1 kB."""
    documents = []
    for text in texts:
        document = ""
        for line in text.splitlines(keepends=True):
            document += line
            if len(document) >= DOCUMENT_CHARACTERS:
                documents.append(document)
                document = ""
        documents.append(document)
    return [document for document in documents if document]


def peers(subject: Subject) -> list[Runtime]:
    """Returns HF tokenizers and tiktoken; the first three use HF tokenizers on one thread."""
    documents = subject.documents
    hf = reference_tokenizer(subject.vocabulary)
    encoding = tiktoken_encoding(subject.vocabulary)

    def hf_parallel() -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        hf.encode_batch_fast(documents)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"

    return [
        Runtime("HF encode", lambda: [hf.encode(document) for document in documents]),
        Runtime("HF encode_batch", lambda: hf.encode_batch(documents)),
        Runtime("HF encode_batch_fast", lambda: hf.encode_batch_fast(documents)),
        Runtime("HF encode_batch_fast, all cores", hf_parallel),
        Runtime("tiktoken", lambda: [encoding.encode_ordinary(document) for document in documents]),
        Runtime("tiktoken, 2 threads", lambda: encoding.encode_ordinary_batch(documents, num_threads=2)),
    ]


def keras_hub_runtime(documents: list[str], folder: Path) -> Runtime:
    """Returns keras-hub's tokenizer on a part of the documents; `folder` holds GPT-2's two files."""
    tokenizer = keras_hub.tokenizers.GPT2Tokenizer(str(folder / "vocabulary.json"), str(folder / "merges.txt"))
    some = documents[::SLOW_SHARE]
    dataset = tf.data.Dataset.from_tensor_slices(some).batch(BATCH_SIZE)
    return Runtime(
        f"keras-hub (1 document in {SLOW_SHARE})",
        lambda: drain(dataset.map(tokenizer, num_parallel_calls=tf.data.AUTOTUNE)),
        share=len(some) / len(documents),
        turns=1,
    )


def drain(dataset: tf.data.Dataset) -> None:
    """Reads the whole dataset."""
    for _ in dataset:
        pass


def in_tf_data(documents: list[str], table: Path, num_parallel_calls: int | None) -> tf.data.Dataset:
    """Returns a dataset of the documents' token ids."""
    tokenizer = BytePairTokenizer(str(table))
    dataset = tf.data.Dataset.from_tensor_slices(documents).batch(BATCH_SIZE)
    return dataset.map(tokenizer.tokenize, num_parallel_calls=num_parallel_calls)


class InTransform:
    """Second half of Transform as TFX runs it: tf.Examples from a file through the transform graph in Beam.

    The transform graph is built in the constructor, and its time is not counted.
    """

    def __init__(self, documents: list[str], folder: Path, epochs: int):
        self._graph = str(folder / "graph")
        self._temporary = str(folder / "temporary")
        self._schema = text_format.Parse(SCHEMA, schema_pb2.Schema())
        self.all, self.one = str(folder / "all.tfrecord"), str(folder / "one.tfrecord")
        for path, texts in ((self.all, documents * epochs), (self.one, documents[:1])):
            with tf.io.TFRecordWriter(path) as writer:
                for text in texts:
                    writer.write(serialized_example(text))
        tokenizer = {"vocabulary": str(folder / "vocabulary.json"), "merges": str(folder / "merges.txt")}
        function = functools.partial(preprocessing_fn, custom_config={"data_kind": "text", "tokenizer": tokenizer})
        with self._pipeline() as pipeline, tft_beam.Context(temp_dir=self._temporary):
            source = tfxio.TFExampleRecord(self.one, schema=self._schema)
            analyzed = (pipeline | source.BeamSource(), source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(
                function
            )
            _ = analyzed | tft_beam.WriteTransformFn(self._graph)

    def _pipeline(self) -> beam.Pipeline:
        return beam.Pipeline(options=PipelineOptions(BEAM_ARGS))

    def count_tokens(self, path: str) -> int:
        """Transforms a file of examples; returns the number of tokens."""
        pipeline = self._pipeline()
        with tft_beam.Context(temp_dir=self._temporary):
            source = tfxio.TFExampleRecord(path, schema=self._schema)
            graph = pipeline | tft_beam.ReadTransformFn(self._graph)
            transformed, _ = (
                (pipeline | source.BeamSource(), source.TensorAdapterConfig()),
                graph,
            ) | tft_beam.TransformDataset(output_record_batches=True)
            _ = transformed | beam.Map(count_batch_tokens)
            result = pipeline.run()
            result.wait_until_finish()
        (counter,) = result.metrics().query(beam.metrics.MetricsFilter().with_name("tokens"))["counters"]
        return counter.committed


def serialized_example(text: str) -> bytes:
    """Serializes a document as `TextExampleGen` writes it."""
    return example({"text": [text], "source": ["benchmark"]})


def count_batch_tokens(batch: tuple[pa.RecordBatch, object]) -> None:
    """Adds a batch's tokens to Beam's counter."""
    token_ids = batch[0].column("token_ids")
    beam.metrics.Metrics.counter("benchmark", "tokens").inc(len(token_ids.flatten()))


def count_mismatches(subject: Subject, dataset: tf.data.Dataset) -> tuple[int, int]:
    """Returns the number of HF's tokens, and the number of documents with token ids that differ from HF's."""
    encodings = reference_tokenizer(subject.vocabulary).encode_batch(subject.documents)
    expected = [encoding.ids for encoding in encodings]
    found = [row for batch in dataset for row in batch.to_list()]
    return sum(map(len, expected)), sum(a != b for a, b in zip(expected, found, strict=True))


def print_table(runtimes: list[Runtime], one_thread: Runtime, num_tokens: int, size_mb: float) -> None:
    """Prints the speed of each runtime."""
    table = Table("runtime", "tokens/s", "median", "MB/s", "× HF")
    for column in table.columns[1:]:
        column.justify = "right"
    for runtime in runtimes:
        best, median = runtime.texts_per_second(), runtime.texts_per_second(statistics.median)
        ratio = best / one_thread.texts_per_second()
        mark = " (= 1)" if runtime is one_thread else ""
        table.add_row(
            runtime.name + mark, f"{best * num_tokens:,.0f}", f"{median * num_tokens:,.0f}", f"{best * size_mb:.2f}",
            f"{ratio:.2f}",
        )  # fmt: skip
    rich.print(table)


def in_transform(transform: InTransform, epochs: int) -> dict[str, Runtime]:
    """Returns Transform without and with its start-up, by their names in the JSON line."""

    def whole() -> int:
        return transform.count_tokens(transform.all)

    start_up = Runtime("start-up", lambda: transform.count_tokens(transform.one))
    return {
        "transform": Runtime("ours in Transform", whole, epochs, start_up=start_up),
        "transform_with_start_up": Runtime("ours in Transform, with its start-up", whole, epochs),
    }


def measure(subject: Subject, title: str, folder: Path, *, everywhere: bool) -> dict[str, float]:
    """Measures all runtimes of one vocabulary in turns and prints their table.

    Args:
        subject: Text and vocabulary.
        title: Name of the vocabulary in the output.
        folder: An empty folder for files.
        everywhere: If True, Transform and keras-hub are measured too.

    Returns:
        Figures of the JSON line.
    """
    write_tokenizer_folder(subject.vocabulary, folder)
    table = folder / "vocabulary.tsv"
    write_table(subject.vocabulary, table, subject.frequent_words)
    parallel, sequential = (in_tf_data(subject.documents, table, calls) for calls in (tf.data.AUTOTUNE, None))
    num_tokens, mismatches = count_mismatches(subject, parallel)
    epochs = math.ceil(TURN_MB / subject.size_mb)
    others = peers(subject)
    ours = {
        "tfdata": Runtime("ours in tf.data, AUTOTUNE", lambda: drain(parallel.repeat(epochs)), epochs),
        "tfdata_one_call": Runtime("ours in tf.data, one call", lambda: drain(sequential.repeat(epochs)), epochs),
    }
    runtimes = [*others, *ours.values()]
    if everywhere:
        transform = InTransform(subject.documents, folder, epochs)
        mismatches += transform.count_tokens(transform.all) != num_tokens * epochs
        ours |= in_transform(transform, epochs)
        runtimes = [*others, keras_hub_runtime(subject.documents, folder), *ours.values()]
    for _ in range(TURNS):
        for runtime in runtimes:
            runtime.take_turn()
    one_thread = max(others[:3], key=Runtime.texts_per_second)
    rich.print(
        f"{title}: {subject.size_mb:.2f} MB in {len(subject.documents):,} documents, {num_tokens:,} tokens of a "
        f"vocabulary of {subject.vocabulary.size:,}; {os.cpu_count()} cores; best and median of {TURNS} turns."
    )
    print_table(runtimes, one_thread, num_tokens, subject.size_mb)
    figures: dict[str, float] = {
        f"{name}_vs_hf_one_thread": round(runtime.texts_per_second() / one_thread.texts_per_second(), 3)
        for name, runtime in ours.items()
    }
    tokens_per_second = round(ours["tfdata"].texts_per_second() * num_tokens)
    return figures | {"tfdata_tokens_per_second": tokens_per_second, "mismatches": mismatches}


def main() -> None:
    """Measures both vocabularies; prints a table of each and the JSON line."""
    with tempfile.TemporaryDirectory() as gpt2_folder, tempfile.TemporaryDirectory() as own_folder:
        figures = measure(with_gpt2_vocabulary(), "GPT-2's vocabulary", Path(gpt2_folder), everywhere=True)
        own = measure(with_own_vocabulary(), "a trained vocabulary", Path(own_folder), everywhere=False)
    rich.print(
        "In Transform: reading tf.Examples, the transform graph, counting; its start-up is the time for a single "
        "document."
    )
    figures["own_vocabulary_vs_hf_one_thread"] = own["tfdata_one_call_vs_hf_one_thread"]
    figures["own_vocabulary_tfdata_vs_hf_one_thread"] = own["tfdata_vs_hf_one_thread"]
    figures["mismatches"] += own["mismatches"]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
