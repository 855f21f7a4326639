"""Exact and MinHash deduplication of a folder of texts with datatrove, for `make bench-data`; runs in `.peers`.

It reads the same files as TextExampleGen, with as many processes, the same runs of 5 words and the same 14 bands of 9
values. It prints seconds, and the numbers of documents read and kept, as JSON. TextExampleGen does more in its time:
it also searches for secrets and for held-out text in the train split, and assigns splits.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.exact_dedup import (
    ExactDedupConfig,
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers.jsonl import JsonlWriter

WORDS, BANDS, VALUES_PER_BAND = 5, 14, 9


class ParagraphReader(BaseDiskReader):
    """Reader of .txt files in which blank lines separate the documents; datatrove has none."""

    name = "paragraphs"

    def read_file(self, filepath: str):
        """Yields the documents of a file."""
        with self.data_folder.open(filepath, "r", encoding="utf-8") as file:
            lines: list[str] = []
            number = 0
            for line in file:
                if not line.isspace():
                    lines.append(line)
                    continue
                if lines:
                    yield self.get_document_from_dict({"text": "".join(lines).rstrip("\n")}, filepath, number)
                    number += 1
                lines = []
            if lines:
                yield self.get_document_from_dict({"text": "".join(lines).rstrip("\n")}, filepath, number)


def text_of(document: Document) -> str:
    """Returns what makes two documents equal."""
    return document.text


def deduplicate(texts: Path, folder: Path, workers: int) -> None:
    """Runs datatrove's pipelines one after the other; the last writes the kept documents."""
    exact = ExactDedupConfig(content_getter=text_of)
    minhash = MinhashConfig(n_grams=WORDS, num_buckets=BANDS, hashes_per_bucket=VALUES_PER_BAND)
    tasks = len(list(texts.glob("*.txt")))

    def run(tasks: int, *steps: PipelineStep) -> None:
        LocalPipelineExecutor(
            pipeline=list(steps),
            tasks=tasks,
            workers=min(workers, tasks),
            logging_dir=str(folder / "logs" / steps[-1].name),
        ).run()

    def path(name: str) -> str:
        return str(folder / name)

    def read() -> list[PipelineStep]:
        return [ParagraphReader(str(texts))]

    def read_different() -> list[PipelineStep]:
        return [*read(), ExactDedupFilter(path("copies"), config=exact)]

    run(tasks, *read(), ExactDedupSignature(path("hashes"), config=exact, finder_workers=1))
    run(1, ExactFindDedups(path("hashes"), path("copies"), config=exact))
    run(tasks, *read_different(), MinhashDedupSignature(path("signatures"), config=minhash))
    run(BANDS, MinhashDedupBuckets(path("signatures"), path("pairs"), config=minhash))
    run(1, MinhashDedupCluster(path("pairs"), path("removed"), config=minhash))
    run(tasks, *read_different(), MinhashDedupFilter(path("removed")), JsonlWriter(path("kept")))


def main() -> None:
    """Deduplicates the texts of a folder and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="datatrove_"))
    try:
        before = time.monotonic()
        deduplicate(arguments.texts, folder, len(os.sched_getaffinity(0)))
        print(json.dumps({"seconds": time.monotonic() - before}))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
