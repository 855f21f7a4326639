"""Runs in which the latest blessed model is known: the first model, a better one, and the first again."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modules.evaluation.results import Evaluation
from tests.chaos.kills import killed_at, processes, remains
from tests.toys.checkout import Checkout, FinishedRun, edited

NO_WORSE = ("--set", "evaluation.max_regression=0")
BETTER = (*NO_WORSE, "--set", "training.steps=400", "--set", "training.checkpoint_seconds=0.1")


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of temporary files of all runs of this module."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("tmp")
        monkeypatch.setenv("TMPDIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def better(first_run: FinishedRun, checkout: Checkout, temporary: Path) -> FinishedRun:
    """A run that trains longer than the first, is killed within its training, and then runs to its end.

    Before it, a run with another text is killed while it reads this text.
    """
    with edited(checkout.folder / "texts" / "topics_0.txt", None, "\n\nOne more document."):
        assert killed_at(checkout, "TextExampleGen", 0.2) == "TextExampleGen"
    checkpoints = checkout.folder / "workspace/topics/checkpoints"
    with checkout.start("run", "--config", "recipe.yaml", *BETTER) as killed:
        while not list(checkpoints.glob("*.npz")):
            assert killed.poll() is None, killed.communicate()
            time.sleep(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
    assert remains(checkout, temporary)
    return checkout.run(*BETTER)


def test_a_killed_run_resumes_inside_its_training(better: FinishedRun, checkout: Checkout) -> None:
    assert better.status == 0, better.output
    first_step = re.search(r"Trainer: (\d+)/400 steps", better.output)
    assert first_step is not None, better.output
    assert int(first_step[1]) > 1
    assert not (checkout.folder / "workspace/topics/checkpoints").exists()


def test_killed_runs_leave_nothing_but_logs(better: FinishedRun, checkout: Checkout, temporary: Path) -> None:
    assert remains(checkout, temporary) == []
    assert processes(checkout) == []
    verdicts = [run.verdict for run in checkout.reader().runs()]
    assert verdicts[:3] == ["pushed", "interrupted", "interrupted"]


def test_a_better_model_ships_and_raises_the_bar(
    first_run: FinishedRun, better: FinishedRun, checkout: Checkout
) -> None:
    assert better.run.baseline_perplexity == pytest.approx(first_run.run.perplexity, rel=1e-6)
    change = Evaluation.read(better.run.output("Evaluator", "evaluation").uri).overall.change
    assert change.perplexity == pytest.approx(better.run.perplexity / first_run.run.perplexity - 1, rel=1e-6)
    assert change.perplexity_interval[1] < 0, "the interval excludes no change"
    releases = set((checkout.folder / "workspace/topics/releases").glob("[0-9]*"))
    assert {first_run.run.release, better.run.release} <= releases

    # The first model is taken from the cache and is now the worse model.
    again = checkout.run(*NO_WORSE)
    assert again.status == 3, again.output
    assert "Trainer" not in again.executed
    assert again.run.baseline_perplexity == pytest.approx(better.run.perplexity, rel=1e-6)
    assert "Refused: rise in perplexity over the latest blessed model" in again.output
    assert set((checkout.folder / "workspace/topics/releases").glob("[0-9]*")) == releases
