"""Runs in which the latest blessed model is known: the first model, a better one, and the first again."""

import os
import re
import signal
import time

import pytest

from modules.evaluation.results import Evaluation
from tests.toys.checkout import Checkout, FinishedRun

NO_WORSE = ("--set", "evaluation.max_regression=0")
BETTER = (*NO_WORSE, "--set", "training.steps=400", "--set", "training.checkpoint_seconds=0.1")


@pytest.fixture(scope="module")
def better(first_run: FinishedRun, checkout: Checkout) -> FinishedRun:
    """A run that trains longer than the first, is killed within its training, and then runs to its end."""
    checkpoints = checkout.folder / "workspace/topics/checkpoints"
    with checkout.start("run", "--config", "recipe.yaml", *BETTER) as killed:
        while not list(checkpoints.glob("*.npz")):
            assert killed.poll() is None, killed.communicate()
            time.sleep(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
    return checkout.run(*BETTER)


def test_a_killed_run_resumes_inside_its_training(better: FinishedRun, checkout: Checkout) -> None:
    assert better.status == 0, better.output
    first_step = re.search(r"Trainer: (\d+)/400 steps", better.output)
    assert first_step is not None, better.output
    assert int(first_step[1]) > 1
    assert not (checkout.folder / "workspace/topics/checkpoints").exists()


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
