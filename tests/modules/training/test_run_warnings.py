"""Settings with which a training run is of little use give one line each, with a cure that works when followed."""

import dataclasses
import re
from typing import Any

import pytest

from modules.training.record import SourceUse
from modules.training.run_warnings import all_warnings, settings_warnings
from modules.training.settings import TrainingSettings


def cured(settings: dict[str, Any], warning: str) -> dict[str, Any]:
    """Returns the settings with the value that a warning proposes."""
    [(name, value)] = re.findall(r"`--set training\.(\w+)=(\d+)`", warning)
    return settings | {name: int(value)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"steps": 100},
            "`training.warmup_steps` is 100, and the run has 100 steps: the learning rate",
        ),
        ({"steps": 1, "warmup_steps": 1}, "and the run has 1 steps"),
        ({"steps": 400, "early_stopping": 3}, "and the run has 4 evaluations: it cannot stop early"),
        ({"steps": 400, "early_stopping": 1, "evaluate_every": 300}, "and the run has 2 evaluations: it cannot stop"),
        ({"steps": 400, "evaluate_every": 400}, "the model is validated only after the last step"),
        ({"steps": 400, "evaluate_every": 9000}, "is 9,000, and the run has 400 steps"),
        ({"steps": 14_000, "batch_size": 8}, "14,000 steps read the 1,000 windows of the train split 112 times"),
        ({"epochs": 101, "batch_size": 8}, "12,625 steps read the 1,000 windows of the train split 101 times"),
        ({"steps": 14_000, "batch_size": 8, "dpo": {}}, "read the 1,000 pairs of the train split"),
    ],
)
def test_a_run_of_little_use_gets_a_warning_and_its_cure(settings: dict[str, Any], message: str) -> None:
    [warning] = all_warnings(TrainingSettings(**settings), windows=1000)
    assert message in warning
    assert "\n" not in warning
    assert all_warnings(TrainingSettings(**cured(settings, warning)), windows=1000) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 400},
        {"steps": 101},
        {"epochs": 3},
        {"steps": 400, "early_stopping": 2},
        {"steps": 400, "evaluate_every": 399},
        {"steps": 12_500, "batch_size": 8},
    ],
)
def test_a_sound_run_gets_none(settings: dict[str, Any]) -> None:
    assert all_warnings(TrainingSettings(**settings), windows=1000) == []


def test_before_the_run_only_given_steps_are_judged() -> None:
    assert len(settings_warnings(TrainingSettings(steps=10))) == 1
    assert settings_warnings(TrainingSettings(epochs=1, warmup_steps=10**6)) == []


def test_each_weighted_source_is_judged_by_its_own_passes() -> None:
    large = SourceUse(name="books", share=0.5, rows=9_990, tokens=9_990 * 128, drawn_rows=4_000)
    small = SourceUse(name="odes", share=0.5, rows=10, tokens=10 * 128, drawn_rows=4_000)
    settings = TrainingSettings(steps=1_000, batch_size=8)
    [warning] = all_warnings(settings, windows=10_000, sources=[large, small])
    assert "read the 10 windows of the source 'odes' 400 times" in warning
    assert "lower its `weight` in `data.sources`, which is now 50.0% of all weights" in warning
    assert "\n" not in warning
    rare = dataclasses.replace(small, share=0.125, drawn_rows=1_000)
    assert all_warnings(settings, windows=10_000, sources=[large, rare]) == []
