from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components.mlmd_properties import CONTRACT, STATISTICS_ID
from components.resolver_strategies import (
    CANDIDATE_KEY,
    LatestExistingBlessedModelStrategy,
    LatestOtherBlessedModelStrategy,
    LatestOtherBlessedStatisticsStrategy,
)


def artifact(kind: type, number: int, folder: Path, **properties: int | str):
    made = kind()
    made.id, made.uri = number, str(folder / str(number))
    for name, value in properties.items():
        setter = made.set_int_custom_property if isinstance(value, int) else made.set_string_custom_property
        setter(name, value)
    return made


@pytest.fixture
def earlier(tmp_path: Path) -> dict[str, list]:
    """Models 1 to 3, all blessed; the folder of model 3 was deleted."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    return {
        "model": [artifact(standard_artifacts.Model, number, tmp_path) for number in (1, 2, 3)],
        "model_blessing": [
            artifact(standard_artifacts.ModelBlessing, 10 + number, tmp_path, current_model_id=number, blessed=1)
            for number in (1, 2, 3)
        ],
    }


def test_a_model_whose_folder_was_deleted_is_not_resolved(earlier: dict[str, list]) -> None:
    resolved = LatestExistingBlessedModelStrategy().resolve_artifacts(None, earlier)
    assert {name: [found.id for found in artifacts] for name, artifacts in resolved.items()} == {
        "model": [2], "model_blessing": [12],
    }  # fmt: skip


def test_the_candidate_is_not_compared_with_itself(earlier: dict[str, list]) -> None:
    candidates = [earlier["model"][1]]
    resolved = LatestOtherBlessedModelStrategy().resolve_artifacts(None, {**earlier, CANDIDATE_KEY: candidates})
    assert [found.id for found in resolved["model"]] == [1]


def test_statistics_whose_folder_was_deleted_are_not_compared_with(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    statistics = [artifact(standard_artifacts.ExampleStatistics, number, tmp_path) for number in (1, 2)]
    blessings = [
        artifact(standard_artifacts.ModelBlessing, 10 + number, tmp_path, **{STATISTICS_ID: number, CONTRACT: "text"})
        for number in (1, 2)
    ]
    inputs = {"statistics": statistics, "data_blessing": blessings, CANDIDATE_KEY: []}
    resolved = LatestOtherBlessedStatisticsStrategy("text").resolve_artifacts(None, inputs)
    assert [found.id for found in resolved["statistics"]] == [1]
