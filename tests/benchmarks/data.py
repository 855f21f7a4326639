"""How fast text goes from files to token ids, and in how much memory: `make bench-data`.

Corpora of 10, 100 and 1,000 MB are made from Python's help texts, repeated with every fifth word replaced, so that no
document is a near duplicate of another. Each goes through the pipeline from TextExampleGen to Transform with the
default cleaning and a vocabulary trained on it, in a process of its own whose peak memory the kernel tells.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from rich.console import Console
from rich.table import Table

WORDS_A_DOCUMENT = 150
REPLACED = 0.2
FILE_BYTES = 50_000_000
NODES = ("TextExampleGen", "StatisticsGen", "Transform")

RECIPE = """
name: bench-data
workspace: {folder}/workspace
data: {{source: "{folder}/texts/*.txt", document_separator: blank_line}}
tokenizer: {{vocabulary_size: 4096}}
model: {{num_layers: 1, num_heads: 1, hidden_dim: 32, context_length: 128}}
training: {{steps: 1}}
evaluation: {{max_perplexity: 100000}}
"""


def write_corpus(folder: Path, megabytes: int) -> None:
    """Writes files of blank-line-separated documents, `megabytes` MB in all; the same in every call."""
    numbers = np.random.default_rng(7)
    words = np.array(" ".join(topics.values()).split(), dtype=object)
    different = np.array(sorted(set(words)), dtype=object)
    folder.mkdir(parents=True)
    left = megabytes * 1_000_000
    for number in range(10_000):
        if left <= 0:
            return
        with (folder / f"part-{number:03d}.txt").open("w", encoding="utf-8") as file:
            written = 0
            while written < min(FILE_BYTES, left):
                start = numbers.integers(len(words) - WORDS_A_DOCUMENT)
                document = words[start : start + WORDS_A_DOCUMENT].copy()
                noisy = numbers.random(WORDS_A_DOCUMENT) < REPLACED
                document[noisy] = different[numbers.integers(len(different), size=noisy.sum())]
                written += file.write(" ".join(document) + "\n\n")
        left -= written


def run_once(folder: Path) -> None:
    """Runs the pipeline up to Transform, in this process."""
    from tfx.dsl.compiler import compiler
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.proto.orchestration import pipeline_pb2

    from pipeline.config import load_config
    from pipeline.dag import Placement, create_pipeline

    config = load_config(folder / "recipe.yaml")
    placement = Placement(
        pipeline_root=str(config.pipeline_root),
        push_directory=str(config.push_directory),
        push_directory_id="",
        data_directory="",
        data_fingerprint="",
        tokenizer_fingerprint="",
        preset_fingerprint="",
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(config.metadata_path)),
    )
    config.metadata_path.parent.mkdir(parents=True, exist_ok=True)
    dag = compiler.Compiler().compile(create_pipeline(config, placement))
    LocalDagRunner().run_with_ir(
        dag, pipeline_pb2.RunOptions(partial_run=pipeline_pb2.PartialRun(to_nodes=["Transform"]))
    )


def measure(megabytes: int) -> dict[str, float]:
    """Seconds of each node, and the peak memory of the process, for one size."""
    from pipeline.metadata import MetadataReader

    folder = Path(tempfile.mkdtemp(prefix="bench_data_"))
    try:
        write_corpus(folder / "texts", megabytes)
        (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder))
        before = time.monotonic()
        child = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.data", "--child", str(folder)], capture_output=True, text=True
        )
        if child.returncode:
            raise SystemExit(child.stderr[-4000:])
        run = MetadataReader(folder / "workspace" / "metadata.sqlite").runs()[0]
        seconds = {execution.node: execution.seconds for execution in run.executions}
        tokens = run.measured("Transform", "transformed_examples", "tokens_train")
        return {
            **{node: seconds[node] for node in NODES},
            "all": time.monotonic() - before,
            "peak_rss_mb": float(child.stdout.split()[-1]),
            "documents": sum(
                run.measured("TextExampleGen", "examples", f"documents_{split}") for split in ("train", "eval", "test")
            ),
            "train_tokens": tokens,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Measures each size and prints a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000], help="megabytes")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_once(arguments.child)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
        return
    console = Console()
    table = Table("MB", "documents", "train tokens", *(f"{node} MB/s" for node in NODES), "all MB/s", "peak RSS MB")
    figures: dict[str, dict[str, float]] = {"peak_rss_mb": {}, "mb_per_s": {}}
    for megabytes in arguments.sizes:
        with console.status(f"{megabytes} MB"):
            measured = measure(megabytes)
        speeds = [f"{megabytes / measured[name]:.2f}" for name in (*NODES, "all")]
        table.add_row(
            f"{megabytes:,}", f"{measured['documents']:,}", f"{measured['train_tokens']:,}", *speeds,
            f"{measured['peak_rss_mb']:,.0f}",
        )  # fmt: skip
        figures["peak_rss_mb"][str(megabytes)] = round(measured["peak_rss_mb"])
        figures["mb_per_s"][str(megabytes)] = round(megabytes / measured["all"], 2)
    console.print(table)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
