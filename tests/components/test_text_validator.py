"""Drift and skew in real runs of `validate`: the same data passes, other data is a warning or stops the run."""

import re
from pathlib import Path
from pydoc_data import topics

import pytest

from tests.toys.checkout import Checkout, copy_project, edited

RECIPE = """
name: drift
data: {source: "texts/*.txt", document_separator: blank_line, splits: {train: 8, eval: 1, test: 1}}
tokenizer: {kind: byte}
model: {num_layers: 1, num_heads: 1, hidden_dim: 32, context_length: 32}
training: {steps: 1}
evaluation: {max_perplexity: 300}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = copy_project(tmp_path_factory.mktemp("drift"), RECIPE)
    write_texts(folder, sorted(topics.topics)[::2])
    return Checkout(folder)


def write_texts(folder: Path, names: list[str]) -> None:
    text = "\n\n".join(topics.topics[name] for name in names)
    (folder / "texts" / "topics.txt").write_text(text, encoding="utf-8")


def validate(corpus: Checkout, *arguments: str) -> tuple[int, str, dict[str, str]]:
    """Runs `validate`; returns the exit status, the output, and the nodes' states by name."""
    result = corpus.command("validate", "--config", "recipe.yaml", *arguments)
    run = corpus.reader().runs()[0]
    return (
        result.returncode,
        " ".join((result.stdout + result.stderr).split()),
        {execution.node: execution.state for execution in run.executions},
    )


def test_drift_from_the_last_good_run_and_skew_warn_or_stop(corpus: Checkout) -> None:
    status, output, states = validate(corpus)
    assert (status, states["AnomalyGate"]) == (0, "complete"), output
    assert "warning" not in output
    assert "Transform" not in states

    # Now half of all words are the same word.
    before = (corpus.folder / "texts" / "topics.txt").read_text()
    (corpus.folder / "texts" / "topics.txt").write_text(before.replace(" the ", " gauze gauze gauze gauze "))
    strict = "skew_comparator { infinity_norm { threshold: 0.0001 } }"
    with edited(corpus.folder / "schemas" / "text.pbtxt", strict.replace("0.0001", "0.2"), strict):
        status, output, _ = validate(corpus, "--set", "data.on_drift=stop")
    assert status == 2, output
    assert "train: `length` differs from eval: L-infinity distance" in output
    assert "the data drifted from the last run's" in output
    assert re.search(r"train: `words` drifted: L-infinity distance 0\.\d+ is above 0\.02, most in 'gauze'", output), (
        output
    )
    assert "eval: `words` drifted" in output
    assert "--set data.on_drift=warn" in output

    # The next run is not compared with data that was stopped: it drifts too.
    status, output, _ = validate(corpus)
    assert status == 0, output
    assert "warning train: `words` drifted" in output

    # After this data has passed once, later runs are compared with it.
    (corpus.folder / "texts" / "more.txt").write_text("One more document.\n")
    status, output, _ = validate(corpus, "--set", "data.on_drift=stop")
    assert status == 0, output
