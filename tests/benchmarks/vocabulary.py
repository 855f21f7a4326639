"""Time to train a vocabulary in Transform and with HF tokenizers on the same text: `make bench-vocabulary`.

The text is 50 MB of the Python source in this environment, in documents of at most 10 kB: it has many different words
and exists on every machine. This project's time is a whole analysis by tft in Beam, from a file of tf.Examples to
`vocabulary.tsv`. HF's trainer reads the documents from memory and uses all cores. Both count the same words, so they
should find the same merges.

The last line of the output contains the figures as JSON.
"""

import argparse
import functools
import json
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import rich
from rich.table import Table

MEGABYTES = 50
DOCUMENT_CHARACTERS = 10_000
VOCABULARY_SIZE = 8000


def read_documents() -> list[str]:
    """Returns `MEGABYTES` MB of Python source as documents."""
    documents: list[str] = []
    left = MEGABYTES * 1_000_000
    for path in sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        documents += [text[start : start + DOCUMENT_CHARACTERS] for start in range(0, len(text), DOCUMENT_CHARACTERS)]
        left -= len(text.encode())
        if left <= 0:
            break
    return documents


def train_with_hf(folder: Path) -> None:
    """Trains HF's byte-level BPE and writes its merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    documents = read_documents()
    started = time.perf_counter()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - 1,  # ours counts <|endoftext|> too
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    seconds = time.perf_counter() - started
    tokenizer.save(str(folder / "hf.json"))
    merges = json.loads((folder / "hf.json").read_text())["model"]["merges"]
    report(folder, "hf", seconds, [" ".join(merge) for merge in merges])


def train_in_transform(folder: Path) -> None:
    """Trains ours as TFX's Transform does and writes its merges."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform.beam as tft_beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.public import tfxio

    from modules.tokenization.preprocessing import preprocessing_fn
    from modules.tokenization.vocabulary_files import find_table, read_table, write_tokenizer_folder
    from pipeline.dag import BEAM_ARGS
    from tests.benchmarks.tokenizer import SCHEMA, serialized_example

    examples = str(folder / "examples.tfrecord")
    with tf.io.TFRecordWriter(examples) as writer:
        for document in read_documents():
            writer.write(serialized_example(document))
    config = {"data_kind": "text", "tokenizer": {"vocabulary_size": VOCABULARY_SIZE}}
    function = functools.partial(preprocessing_fn, custom_config=config)
    source = tfxio.TFExampleRecord(examples, schema=text_format.Parse(SCHEMA, schema_pb2.Schema()))
    started = time.perf_counter()
    with beam.Pipeline(options=PipelineOptions(BEAM_ARGS)) as pipeline, tft_beam.Context(temp_dir=str(folder / "tmp")):
        dataset = (pipeline | source.BeamSource(), source.TensorAdapterConfig())
        _ = dataset | tft_beam.AnalyzeDataset(function) | tft_beam.WriteTransformFn(str(folder / "graph"))
    seconds = time.perf_counter() - started
    write_tokenizer_folder(read_table(find_table(folder / "graph")), folder)
    report(folder, "ours", seconds, (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:])


def report(folder: Path, name: str, seconds: float, merges: list[str]) -> None:
    """Writes the measured figures to a file for the parent process."""
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    measured = {"seconds": seconds, "peak_mb": peak_mb, "merges": merges}
    (folder / f"{name}.result").write_text(json.dumps(measured), encoding="utf-8")


def main() -> None:
    """Trains with both, each in a separate process, and prints a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, folder = arguments.child
        {"hf": train_with_hf, "ours": train_in_transform}[name](Path(folder))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("hf", "ours"):
            child = subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.vocabulary", "--child", name, folder], capture_output=True
            )
            if child.returncode:
                raise SystemExit(child.stderr.decode()[-2000:])
            results[name] = json.loads(Path(folder, f"{name}.result").read_text(encoding="utf-8"))
    hf, ours = results["hf"], results["ours"]
    same = sum(1 for merge in ours["merges"] if merge in set(hf["merges"]))
    table = Table("", "seconds", "× HF", "peak MB", "merges", title=f"{MEGABYTES} MB of Python source", box=None)
    for name, result in (("HF tokenizers", hf), ("ours in Transform", ours)):
        table.add_row(
            name, f"{result['seconds']:.1f}", f"{result['seconds'] / hf['seconds']:.2f}", f"{result['peak_mb']:,.0f}",
            f"{len(result['merges']):,}",
        )  # fmt: skip
    rich.print(table)
    print(
        json.dumps({
            "vocabulary_seconds_vs_hf": round(ours["seconds"] / hf["seconds"], 2),
            "seconds": round(ours["seconds"], 1),
            "hf_seconds": round(hf["seconds"], 1),
            "peak_rss_mb": round(ours["peak_mb"]),
            "merges_in_hfs": round(same / len(ours["merges"]), 4),
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
