import json
import math
from pathlib import Path

import pytest

from modules.gates import Check, failed, read_checks, write_checks


def check(measured: float | None, limit: float = 150.0, bound: str = "at most") -> Check:
    return Check(metric="perplexity", measured=measured, limit=limit, bound=bound, limit_from="evaluation.x")


@pytest.mark.parametrize(
    ("one", "passed", "sentence"),
    [
        (check(149.0), True, "perplexity: 149 is within 150 (evaluation.x)"),
        (check(150.0), True, "perplexity: 150 is within 150 (evaluation.x)"),
        (check(152.0), False, "perplexity: 152 is above 150 (evaluation.x)"),
        (check(None), False, "perplexity: not measured (evaluation.x)"),
        (check(math.nan), False, "perplexity: nan is not a number for 150 (evaluation.x)"),
        (check(math.inf), False, "perplexity: inf is not a number for 150 (evaluation.x)"),
        (check(-math.inf), False, "perplexity: -inf is not a number for 150 (evaluation.x)"),
        (check(0.31, 0.25, "at least"), True, "perplexity: 0.31 is at least 0.25 (evaluation.x)"),
        (check(0.2, 0.25, "at least"), False, "perplexity: 0.2 is below 0.25 (evaluation.x)"),
        (check(math.inf, 0.25, "at least"), False, "perplexity: inf is not a number for 0.25 (evaluation.x)"),
        (check(1.0, math.nan), False, "perplexity: 1 is above nan (evaluation.x)"),
    ],
)
def test_a_check_passes_only_on_a_number_within_its_limit(one: Check, passed: bool, sentence: str) -> None:
    assert one.passed is passed
    assert one.sentence == sentence
    assert failed([one]) == ([] if passed else [one])


def test_what_is_written_is_json_for_everyone_and_fails_again_when_read(tmp_path: Path) -> None:
    checks = [check(149.0), check(math.nan)]
    write_checks(tmp_path, checks)
    text = (tmp_path / "checks.json").read_text()
    assert "NaN" not in text
    assert [row["passed"] for row in json.loads(text)] == [True, False]
    again = read_checks(tmp_path)
    assert again[0] == checks[0]
    assert again[1].measured is None
    assert failed(again) == again[1:]


def test_without_checks_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"checks\.json"):
        read_checks(tmp_path)
