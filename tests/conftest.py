"""One real run of the pipeline, shared by all tests that look at its results."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from pydoc_data import topics

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from pipeline.metadata.reader import MetadataReader, Run

ROOT = Path(__file__).parents[1]

# How long an example takes is up to the machine, which may have other work.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Small enough to run in a minute, large enough that training visibly helps.
RECIPE = """
name: topics
data:
  source: texts/*.txt
  document_separator: blank_line
  splits: {train: 8, eval: 1, test: 1}
tokenizer: {vocabulary_size: 512}
model: {num_layers: 2, num_heads: 2, hidden_dim: 64, context_length: 64}
training: {steps: 400, batch_size: 8, learning_rate: 5.0e-3, warmup_steps: 20}
evaluation: {max_perplexity: 300, max_regression: 0.25}
"""


# A resolver only looks things up, in every run.
RESOLVERS = {"LatestBlessedData", "LatestBlessedTokens", "WarmStartModel", "LatestBlessedModel"}


@dataclasses.dataclass
class Checkout:
    """A copy of the project's code beside a small corpus, where tests may edit both."""

    folder: Path

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Starts `python -m pipeline …` here, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments],
            cwd=self.folder, env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs `python -m pipeline …` here."""
        with self.start(*arguments) as process:
            try:
                stdout, stderr = process.communicate(timeout=600)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def run(self, *arguments: str) -> "FinishedRun":
        """Runs the pipeline and looks its run up in ML Metadata."""
        result = self.command("run", "--config", "recipe.yaml", *arguments)
        return FinishedRun(result.returncode, result.stdout + result.stderr, self.reader().runs()[0])

    def reader(self) -> MetadataReader:
        """ML Metadata of the workspace."""
        return MetadataReader(self.folder / "workspace" / "metadata.sqlite")


@dataclasses.dataclass
class FinishedRun:
    """What a run printed, and what ML Metadata holds of it."""

    status: int
    output: str
    run: Run

    @property
    def executed(self) -> set[str]:
        """Nodes that really worked."""
        return {
            execution.node
            for execution in self.run.executions
            if execution.state == "complete" and execution.node not in RESOLVERS
        }


def copy_project(folder: Path, recipe: str) -> Path:
    """Copies the project's code beside a recipe and an empty `texts/`; returns the folder."""
    for name in ("modules", "components", "pipeline", "schemas"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "uv.lock", folder)
    (folder / "recipe.yaml").write_text(recipe)
    (folder / "texts").mkdir()
    return folder


# Tests run in two processes (pytest-xdist), each file in one of them; these share one `first_run`, so all in the same.
SHARE_THE_RUN = (
    "tests/pipeline/console/test_comparison.py",
    "tests/pipeline/metadata/test_reader.py",
    "tests/pipeline/test_release.py",
    "tests/pipeline/test_run.py",
    "tests/test_notebooks.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no process is left with it at the end."""
    strangers = [item.nodeid for item in items if "first_run" in item.fixturenames and not shares_the_run(item.nodeid)]
    assert not strangers, f"files with `first_run` must stand in SHARE_THE_RUN: {strangers}"
    items.sort(key=lambda item: (not shares_the_run(item.nodeid), not item.nodeid.startswith("tests/pipeline/")))


def shares_the_run(nodeid: str) -> bool:
    return nodeid.startswith(SHARE_THE_RUN)


class Scheduling(LoadFileScheduling):
    """By file, with SHARE_THE_RUN as if it were one file."""

    def _split_scope(self, nodeid: str) -> str:
        return "first_run" if shares_the_run(nodeid) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = copy_project(tmp_path_factory.mktemp("checkout"), RECIPE)
    names = sorted(topics.topics)
    for number, half in enumerate((names[::2], names[1::2])):
        text = "\n\n".join(topics.topics[name] for name in half)
        (folder / "texts" / f"topics_{number}.txt").write_text(text, encoding="utf-8")
    return Checkout(folder)


@pytest.fixture(scope="session")
def first_run(checkout: Checkout) -> FinishedRun:
    return checkout.run()


@pytest.fixture(scope="session")
def release(first_run: FinishedRun) -> Path:
    assert first_run.run.release is not None, first_run.output
    return first_run.run.release
