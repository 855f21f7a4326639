import json
import math
from pathlib import Path

import pytest

from modules.evaluation.gates import Check, failed, read_checks, verdict, write_checks
from tests.toys.report import INT8_FAILED, PASSED, REFUSED


def check(measured: float | None, limit: float = 150.0, bound: str = "at most") -> Check:
    return Check(metric="perplexity", measured=measured, limit=limit, bound=bound, limit_from="evaluation.x")


@pytest.mark.parametrize(
    ("result", "passed", "sentence"),
    [
        (check(149.0), True, "perplexity: 149 is within 150 (evaluation.x)"),
        (check(150.0), True, "perplexity: 150 is within 150 (evaluation.x)"),
        (check(152.0), False, "perplexity: 152 is above 150 (evaluation.x)"),
        (check(150.004), False, "perplexity: 150.004 is above 150 (evaluation.x)"),
        (check(None), False, "perplexity: not measured (evaluation.x)"),
        (check(math.nan), False, "perplexity: nan is not comparable with 150 (evaluation.x)"),
        (check(math.inf), False, "perplexity: inf is not comparable with 150 (evaluation.x)"),
        (check(-math.inf), False, "perplexity: -inf is not comparable with 150 (evaluation.x)"),
        (check(0.31, 0.25, "at least"), True, "perplexity: 0.31 is at least 0.25 (evaluation.x)"),
        (check(0.2, 0.25, "at least"), False, "perplexity: 0.2 is below 0.25 (evaluation.x)"),
        (check(math.inf, 0.25, "at least"), False, "perplexity: inf is not comparable with 0.25 (evaluation.x)"),
        (check(1.0, math.nan), False, "perplexity: 1 is above nan (evaluation.x)"),
    ],
)
def test_a_check_passes_only_on_a_number_within_its_limit(result: Check, passed: bool, sentence: str) -> None:
    assert result.passed is passed
    assert result.sentence == sentence
    assert failed([result]) == ([] if passed else [result])


def test_checks_are_standard_json_and_a_failed_check_fails_again_after_reading(tmp_path: Path) -> None:
    checks = [check(149.0), check(math.nan)]
    write_checks(tmp_path, checks)
    text = (tmp_path / "checks.json").read_text()
    assert "NaN" not in text
    assert [row["passed"] for row in json.loads(text)] == [True, False]
    again = read_checks(tmp_path)
    assert again[0] == checks[0]
    assert again[1].sentence == checks[1].sentence
    assert failed(again) == again[1:]


def test_reading_checks_from_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"checks\.json"):
        read_checks(tmp_path)


@pytest.mark.parametrize(
    ("checks", "blessed", "sentence"),
    [
        ([PASSED], True, "Blessed: the one gate passed."),
        ([PASSED] * 5, True, "Blessed: all 5 gates passed."),
        ([REFUSED], False, "Refused: perplexity 152 is above 150 (evaluation.max_perplexity)."),
        # A failed check outweighs a blessing, and without checks nothing is blessed.
        ([PASSED, REFUSED], True, "Refused: perplexity 152 is above 150 (evaluation.max_perplexity)."),
        ([], True, "Refused: nothing was checked."),
        ([PASSED], False, "Refused: the Evaluator did not bless it, although every check passed."),
    ],
)
def test_the_verdict_is_a_sentence_with_the_reason(checks: list[Check], blessed: bool, sentence: str) -> None:
    decided = verdict(checks, blessed=blessed)
    assert decided.sentence == sentence
    assert decided.blessed is sentence.startswith("Blessed")


def test_a_verdict_names_the_first_three_reasons_and_counts_the_rest() -> None:
    failures = [
        Check(metric="perplexity", of=f"source={name}", measured=None, limit=1.0, bound="at most", limit_from="x")
        for name in "abcde"
    ]
    assert verdict(failures, blessed=False).sentence == (
        "Refused: perplexity of source=a not measured (x), and perplexity of source=b not measured (x), "
        "and perplexity of source=c not measured (x), and 2 more."
    )


def test_files_that_are_left_out_are_named_with_their_reason() -> None:
    released = {"float16": True, "int8": False}
    assert verdict([PASSED], blessed=True, file_checks=[INT8_FAILED], released=released).sentence == (
        "Blessed: the one gate passed; "
        "int8 is left out: rise in perplexity of int8 8.3% is above 2% (evaluation.tflite.max_rise.int8)."
    )
    assert verdict([PASSED], blessed=True, released=released).sentence == (
        "Blessed: the one gate passed; int8 is left out: it was not released."
    )
    # If the model is refused, no file ships, so the sentence names no file.
    assert "int8" not in verdict([REFUSED], blessed=False, file_checks=[INT8_FAILED], released=released).sentence


def test_a_failed_file_stops_the_release_if_every_file_is_needed() -> None:
    decided = verdict([PASSED], blessed=True, file_checks=[INT8_FAILED], released={"int8": False}, may_ship=False)
    assert decided.sentence == (
        "Refused: rise in perplexity of int8 8.3% is above 2% (evaluation.tflite.max_rise.int8), "
        "and nothing ships without it (evaluation.tflite.on_failure)."
    )
