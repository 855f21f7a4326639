"""Three runs of a separate pipeline, in which the latest blessed model is known: first, better and worse model."""

import pytest

from modules.evaluation.results import Evaluation
from tests.toys.checkout import Checkout


def test_a_better_model_ships_and_raises_the_bar(checkout: Checkout) -> None:
    no_worse = ("--set", "name=story", "--set", "evaluation.max_regression=0", "--set", "evaluation.max_perplexity=500")
    short = (*no_worse, "--set", "training.steps=60")
    first = checkout.run(*short)
    assert first.status == 0, first.output
    assert first.run.baseline_perplexity is None

    better = checkout.run(*no_worse, "--set", "training.steps=200")
    assert better.status == 0, better.output
    assert better.run.baseline_perplexity == pytest.approx(first.run.perplexity, rel=1e-6)
    change = Evaluation.read(better.run.output("Evaluator", "evaluation").uri).overall.change
    assert change.perplexity == pytest.approx(better.run.perplexity / first.run.perplexity - 1, rel=1e-6)
    assert change.perplexity_interval[1] < 0, "the interval excludes no change"

    # The first model is taken from the cache and is now the worse model.
    again = checkout.run(*short)
    assert again.status == 3, again.output
    assert "Trainer" not in again.executed
    assert again.run.baseline_perplexity == pytest.approx(better.run.perplexity, rel=1e-6)
    assert "Refused: rise in perplexity over the latest blessed model" in again.output
    releases = (checkout.folder / "workspace/story/releases").glob("[0-9]*")
    assert sorted(releases) == sorted([first.run.release, better.run.release])
