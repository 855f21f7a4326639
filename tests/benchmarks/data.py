"""Speed and memory of the pipeline from text files to token ids: `make bench-data`.

Corpora of 10, 100 and 1,000 MB are made from Python's help texts, repeated with every fifth word replaced, so that no
document is a near duplicate of another. Each corpus goes through the pipeline from TextExampleGen to TokenGate in a
separate process, with the default cleaning and a vocabulary trained on the corpus. The peak of a node is the memory of
that process and of those that it has started; the largest peak is that of the whole run.

TextExampleGen is compared with datatrove on the same files: both read the text, remove exact duplicates and near
duplicates (runs of 5 words, 14 bands of 9 MinHash values) and write the rest, with as many processes. TextExampleGen
also searches for secrets and for held-out text in the train split. datatrove takes minutes for 100 MB, so it gets the
largest corpus of at most that size.
"""

import argparse
import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.runners.node_events import NODE_FINISHED, NODE_STARTED

WORDS_PER_DOCUMENT = 150
REPLACED = 0.2
FILE_BYTES = 50_000_000
NODES = ("TextExampleGen", "StatisticsGen", "Transform", "TokenStatistics")
PEERS_PYTHON = Path(__file__).parents[2] / ".peers" / "bin" / "python"
PEER = Path(__file__).parent / "peers" / "datatrove_deduplication.py"
PEER_MAX_MB = 100
LARGE_MB = 1000
SAMPLE_INTERVAL_S = 0.5

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
    """Writes files of documents separated by blank lines, `megabytes` MB in total; every call writes the same text."""
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
                start = numbers.integers(len(words) - WORDS_PER_DOCUMENT)
                document = words[start : start + WORDS_PER_DOCUMENT].copy()
                noisy = numbers.random(WORDS_PER_DOCUMENT) < REPLACED
                document[noisy] = different[numbers.integers(len(different), size=noisy.sum())]
                written += file.write(" ".join(document) + "\n\n")
        left -= written


def run_once(folder: Path) -> None:
    """Runs the pipeline up to the token gate in this process; prints the peak memory of each node as JSON."""
    import absl.logging
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    from pipeline.config import load_config
    from pipeline.dag import create_pipeline
    from pipeline.placement import Placement

    config = load_config(folder / "recipe.yaml")
    placement = Placement(
        pipeline_root=str(config.pipeline_root),
        push_directory=str(config.push_directory),
        push_directory_id="",
        data_directory="",
        data_fingerprint="",
        tokenizer_fingerprint="",
        preset_fingerprint="",
        training_fingerprint="",
        task_fingerprint="",
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(config.metadata_path)),
    )
    config.metadata_path.parent.mkdir(parents=True, exist_ok=True)
    peaks = NodePeaks()
    logging.getLogger("absl").addHandler(peaks)
    absl.logging.set_verbosity(absl.logging.INFO)  # not setLevel, because TFT restores absl's own level
    LocalDagRunner().run(create_pipeline(config, placement, until="tokens"))
    print(json.dumps(peaks.megabytes))


class NodePeaks(logging.Handler):
    """Log handler that reads the peak memory of this process and its children during each node from Linux's /proc."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.megabytes: dict[str, float] = {}
        self._sampled = 0.0
        threading.Thread(target=self._sample, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Resets the peak when a node starts and reads it when the node ends."""
        if record.msg == NODE_STARTED:
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
            self._sampled = 0.0
        elif record.msg == NODE_FINISHED:
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            own = int(status["VmHWM"].split()[0]) * 1024 / 1e6
            self.megabytes[str(record.args[0])] = max(own, self._sampled)

    def _sample(self) -> None:
        while True:
            self._sampled = max(self._sampled, sum(map(resident_megabytes, process_tree(os.getpid()))))
            time.sleep(SAMPLE_INTERVAL_S)


def process_tree(process: int) -> list[int]:
    """Returns the ids of a process and of all that it has started."""
    tree = [process]
    with contextlib.suppress(OSError):  # it may have ended
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            tree += [found for child in children.read_text().split() for found in process_tree(int(child))]
    return tree


def resident_megabytes(process: int) -> float:
    """Returns the memory of a process in MB; what several processes share counts once, in parts."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def measure(megabytes: int, *, peer: bool) -> dict[str, Any]:
    """Returns seconds and peak memory of the nodes and of the whole run for one size, and datatrove's seconds."""
    from pipeline.metadata.reader import MetadataReader

    folder = Path(tempfile.mkdtemp(prefix="bench_data_"))
    try:
        write_corpus(folder / "texts", megabytes)
        (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder))
        before = time.monotonic()
        child = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.data", "--child", str(folder)], capture_output=True, text=True
        )
        if child.returncode:
            raise SystemExit(child.stderr[-2000:])
        all_seconds = time.monotonic() - before
        run = MetadataReader(folder / "workspace" / "metadata.sqlite").runs()[0]
        seconds = {execution.node: execution.seconds for execution in run.executions}
        tokens = run.measured("Transform", "transformed_examples", "tokens_train")
        peaks = json.loads(child.stdout.splitlines()[-1])
        return {
            "seconds": {**{node: seconds[node] for node in NODES}, "all": all_seconds},
            "peak_mb": {**peaks, "all": max(peaks.values())},
            "documents": sum(
                run.measured("TextExampleGen", "examples", f"documents_{split}") for split in ("train", "eval", "test")
            ),
            "train_tokens": tokens,
            "datatrove_seconds": datatrove_seconds(folder / "texts") if peer else None,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def datatrove_seconds(texts: Path) -> float:
    """Returns how long datatrove takes to remove the duplicates of a folder of texts."""
    result = subprocess.run([PEERS_PYTHON, PEER, texts], capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(result.stderr[-2000:])
    return json.loads(result.stdout.splitlines()[-1])["seconds"]


def main() -> None:
    """Measures each size and prints a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000], help="corpus sizes in MB")
    parser.add_argument("--without-peer", action="store_true", help="do not compare TextExampleGen with datatrove")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_once(arguments.child)
        return
    compared = None if arguments.without_peer else max((n for n in arguments.sizes if n <= PEER_MAX_MB), default=None)
    if compared and not PEERS_PYTHON.is_file():
        raise SystemExit("datatrove is not installed. Cure: make bench-peers")
    console = Console()
    table = Table(
        "", "documents", "tokens", *NODES, "total", title="MB/s (peak resident MB)", title_justify="left", box=None
    )
    figures: dict[str, Any] = {"peak_rss_mb": {}, "mb_per_s": {}, "mb_per_s_all_1000": None, "vs_datatrove": None}
    for megabytes in arguments.sizes:
        with console.status(f"{megabytes} MB"):
            measured = measure(megabytes, peer=megabytes == compared)
        peaks = measured["peak_mb"]
        cells = [f"{megabytes / measured['seconds'][name]:.2f}\n({peaks[name]:,.0f})" for name in (*NODES, "all")]
        table.add_row(f"{megabytes:,} MB", f"{measured['documents']:,}", f"{measured['train_tokens']:,}", *cells)
        figures["peak_rss_mb"][str(megabytes)] = round(peaks["all"])
        figures["mb_per_s"][str(megabytes)] = round(megabytes / measured["seconds"]["all"], 4)
        if megabytes == LARGE_MB:
            figures["mb_per_s_all_1000"] = figures["mb_per_s"][str(megabytes)]
        if megabytes == compared:
            peer_seconds, seconds = measured["datatrove_seconds"], measured["seconds"]["TextExampleGen"]
            figures["vs_datatrove"] = round(peer_seconds / seconds, 2)
            comparison = (
                f"{megabytes:,} MB: TextExampleGen {megabytes / seconds:.2f} MB/s, datatrove "
                f"{megabytes / peer_seconds:.2f} MB/s for reading, exact and MinHash deduplication, and writing"
            )
    console.print(table)
    if compared:
        console.print(comparison)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
