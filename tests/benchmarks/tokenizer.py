"""Tokens per second of the graph tokenizer and of its peers on the same text in one run: `make bench-tokenizer`.

The text is Python's help texts, or WikiText-2's valid part and tinyshakespeare where the shared data exist, as
documents of 1 kB, with GPT-2's vocabulary. Every runtime starts with the
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
from collections.abc import Callable
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

from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer
from modules.tokenization.preprocessing import preprocessing_fn
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_table, write_tokenizer_folder
from pipeline.dag import BEAM_ARGS
from tests.toys.examples import example
from tests.toys.tokenizer_reference import (
    corpus,
    gpt2_vocabulary,
    reference_tokenizer,
    shared_texts,
    tiktoken_encoding,
)

TURNS = 5
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


def read_documents() -> tuple[list[str], Vocabulary]:
    """Returns the text in documents of about 1 kB, and the vocabulary."""
    vocabulary = gpt2_vocabulary()
    texts = list(shared_texts().values()) or corpus()
    documents = []
    for text in texts:
        document = ""
        for line in text.splitlines(keepends=True):
            document += line
            if len(document) >= DOCUMENT_CHARACTERS:
                documents.append(document)
                document = ""
        documents.append(document)
    return [document for document in documents if document], vocabulary


def peers(documents: list[str], vocabulary: Vocabulary, folder: Path) -> list[Runtime]:
    """Returns HF tokenizers, tiktoken and keras-hub; the first three use HF tokenizers on one thread."""
    hf = reference_tokenizer(vocabulary)
    encoding = tiktoken_encoding(vocabulary)
    keras = keras_hub.tokenizers.GPT2Tokenizer(str(folder / "vocabulary.json"), str(folder / "merges.txt"))

    def hf_parallel() -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        hf.encode_batch_fast(documents)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"

    some = tf.data.Dataset.from_tensor_slices(documents[::SLOW_SHARE]).batch(BATCH_SIZE)
    return [
        Runtime("HF encode", lambda: [hf.encode(document) for document in documents]),
        Runtime("HF encode_batch", lambda: hf.encode_batch(documents)),
        Runtime("HF encode_batch_fast", lambda: hf.encode_batch_fast(documents)),
        Runtime("HF encode_batch_fast, all cores", hf_parallel),
        Runtime("tiktoken", lambda: [encoding.encode_ordinary(document) for document in documents]),
        Runtime("tiktoken, 2 threads", lambda: encoding.encode_ordinary_batch(documents, num_threads=2)),
        Runtime(
            f"keras-hub (1 document in {SLOW_SHARE})",
            lambda: drain(some.map(keras, num_parallel_calls=tf.data.AUTOTUNE)),
            share=len(documents[::SLOW_SHARE]) / len(documents),
            turns=1,
        ),
    ]


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


def count_mismatches(documents: list[str], vocabulary: Vocabulary, dataset: tf.data.Dataset) -> tuple[int, int]:
    """Returns the number of HF's tokens, and the number of documents with token ids that differ from HF's."""
    expected = [encoding.ids for encoding in reference_tokenizer(vocabulary).encode_batch(documents)]
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


def our_runtimes(
    dataset: tf.data.Dataset, sequential: tf.data.Dataset, transform: InTransform, epochs: int
) -> dict[str, Runtime]:
    """Returns this project's runtimes by their names in the JSON line."""

    def whole() -> int:
        return transform.count_tokens(transform.all)

    start_up = Runtime("start-up", lambda: transform.count_tokens(transform.one))
    return {
        "tfdata": Runtime("ours in tf.data, AUTOTUNE", lambda: drain(dataset.repeat(epochs)), epochs),
        "tfdata_one_call": Runtime("ours in tf.data, one call", lambda: drain(sequential.repeat(epochs)), epochs),
        "transform": Runtime("ours in Transform", whole, epochs, start_up=start_up),
        "transform_with_start_up": Runtime("ours in Transform, with its start-up", whole, epochs),
    }


def main() -> None:
    """Measures and prints the table and the JSON line."""
    documents, vocabulary = read_documents()
    size_mb = sum(len(document.encode()) for document in documents) / 1e6
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_tokenizer_folder(vocabulary, folder)
        write_table(vocabulary, folder / "vocabulary.tsv")
        dataset = in_tf_data(documents, folder / "vocabulary.tsv", tf.data.AUTOTUNE)
        sequential = in_tf_data(documents, folder / "vocabulary.tsv", None)
        num_tokens, mismatches = count_mismatches(documents, vocabulary, dataset)
        others = peers(documents, vocabulary, folder)
        epochs = math.ceil(TURN_MB / size_mb)
        transform = InTransform(documents, folder, epochs)
        mismatches += transform.count_tokens(transform.all) != num_tokens * epochs
        ours = our_runtimes(dataset, sequential, transform, epochs)
        runtimes = [*others, *ours.values()]
        for _ in range(TURNS):
            for runtime in runtimes:
                runtime.take_turn()
    one_thread = max(others[:3], key=Runtime.texts_per_second)
    rich.print(
        f"{size_mb:.2f} MB in {len(documents):,} documents, {num_tokens:,} tokens of a vocabulary of "
        f"{vocabulary.size:,}; {os.cpu_count()} cores; best and median of {TURNS} turns. In Transform: reading "
        "tf.Examples, the transform graph, counting; its start-up is the time for a single document."
    )
    print_table(runtimes, one_thread, num_tokens, size_mb)
    figures: dict[str, float] = {
        f"{name}_vs_hf_one_thread": round(runtime.texts_per_second() / one_thread.texts_per_second(), 3)
        for name, runtime in ours.items()
    }
    figures["tfdata_tokens_per_second"] = round(ours["tfdata"].texts_per_second() * num_tokens)
    figures["mismatches"] = mismatches
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
