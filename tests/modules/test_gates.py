import math
from pathlib import Path

import pytest

from modules import gates
from modules.gates import Check, verdict
from tests.report_example import INT8_FAILED, PASSED, REFUSED


@pytest.mark.parametrize("measured", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("bound", ["at most", "at least"])
def test_what_is_not_a_number_never_passes(tmp_path: Path, measured: float | None, bound: str) -> None:
    check = Check(metric="perplexity", measured=measured, limit=1.0, bound=bound, limit_from="x")
    assert not check.passed
    gates.write_checks(tmp_path, [check])
    (read,) = gates.read_checks(tmp_path)
    assert not read.passed


@pytest.mark.parametrize(
    ("checks", "blessed", "sentence"),
    [
        ([PASSED], True, "Blessed: the one gate passed."),
        ([PASSED] * 5, True, "Blessed: every one of 5 gates passed."),
        ([REFUSED], False, "Refused: perplexity 152 is above 150 (evaluation.max_perplexity)."),
        # A failed check outweighs a blessing, and no check is no reason to bless.
        ([PASSED, REFUSED], True, "Refused: perplexity 152 is above 150 (evaluation.max_perplexity)."),
        ([], True, "Refused: nothing was checked."),
        ([PASSED], False, "Refused: the Evaluator did not bless it, although every check passed."),
    ],
)
def test_the_verdict_is_one_sentence(checks: list[Check], blessed: bool, sentence: str) -> None:
    decided = verdict(checks, blessed=blessed)
    assert decided.sentence == sentence
    assert decided.blessed is sentence.startswith("Blessed")


def test_of_many_reasons_the_first_are_told() -> None:
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
        "int8 is left out: perplexity of int8 130 is above 122.4 (evaluation.tflite.int8)."
    )
    assert verdict([PASSED], blessed=True, released=released).sentence == (
        "Blessed: the one gate passed; int8 is left out: it was not released."
    )
    # Of a refused model no file ships, which goes without saying.
    assert "int8" not in verdict([REFUSED], blessed=False, file_checks=[INT8_FAILED], released=released).sentence
