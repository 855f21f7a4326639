"""Copy of the project's code that tests run as a user does, and the results of its runs."""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data import topics

from pipeline.metadata.reader import MetadataReader, Run

ROOT = Path(__file__).parents[2]

# Small enough to run in a minute, large enough that training lowers the perplexity clearly.
RECIPE = """
name: topics
data:
  source: texts/*.txt
  document_separator: blank_line
  splits: {train: 8, eval: 1, test: 1}
tokenizer: {vocabulary_size: 512}
model: {num_layers: 2, num_heads: 2, hidden_dim: 64, context_length: 64}
training: {steps: 200, batch_size: 8, learning_rate: 5.0e-3, warmup_steps: 20}
evaluation: {max_perplexity: 300, max_regression: 0.25}
"""

ALL = {
    "Contract", "TextExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "AnomalyGate", "Transform",
    "TokenContract", "TokenStatistics", "TokenValidator", "TokenGate",
    "Trainer", "TaskEvaluator", "Evaluator", "TFLiteConverter", "TFLiteEvaluator", "Report", "Pusher",
}  # fmt: skip
# Resolvers only look up artifacts, in every run.
RESOLVERS = {"LatestBlessedData", "LatestBlessedTokens", "WarmStartModel", "LatestBlessedModel"}


@dataclasses.dataclass
class Checkout:
    """Folder with a copy of the project's code and a small corpus; tests may edit both."""

    folder: Path

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Starts `python -m pipeline …` in the folder, in a separate process group."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments],
            cwd=self.folder, env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs `python -m pipeline …` in the folder."""
        with self.start(*arguments) as process:
            try:
                stdout, stderr = process.communicate(timeout=600)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def run(self, *arguments: str) -> "FinishedRun":
        """Runs the pipeline; returns its output and its run in ML Metadata."""
        result = self.command("run", "--config", "recipe.yaml", *arguments)
        return FinishedRun(result.returncode, result.stdout + result.stderr, self.reader().runs()[0])

    def reader(self) -> MetadataReader:
        """Returns a reader of the workspace's ML Metadata."""
        return MetadataReader(self.folder / "workspace" / "metadata.sqlite")


@dataclasses.dataclass
class FinishedRun:
    """Exit status and output of a run, and its record in ML Metadata."""

    status: int
    output: str
    run: Run

    @property
    def executed(self) -> set[str]:
        """Returns the nodes that were executed, neither cached nor resolvers."""
        return {
            execution.node
            for execution in self.run.executions
            if execution.state == "complete" and execution.node not in RESOLVERS
        }


def copy_project(folder: Path, recipe: str) -> Path:
    """Copies the project's code, a recipe and an empty `texts/` to a folder; returns the folder."""
    for name in ("modules", "components", "pipeline", "schemas"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "uv.lock", folder)
    (folder / "recipe.yaml").write_text(recipe)
    (folder / "texts").mkdir()
    return folder


def topics_checkout(folder: Path) -> Checkout:
    """Copies the project's code to a folder, with RECIPE and its corpus: Python's topics, in two files."""
    copy_project(folder, RECIPE)
    names = sorted(topics.topics)
    for number, half in enumerate((names[::2], names[1::2])):
        text = "\n\n".join(topics.topics[name] for name in half)
        (folder / "texts" / f"topics_{number}.txt").write_text(text, encoding="utf-8")
    return Checkout(folder)


@contextlib.contextmanager
def edited(path: Path, old: str | None, new: str) -> Iterator[None]:
    """Replaces `old` by `new` in a file, or appends `new` if `old` is None; restores the file afterwards."""
    before = path.read_text(encoding="utf-8")
    assert old is None or before.count(old) == 1
    path.write_text(before + new if old is None else before.replace(old, new), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")
