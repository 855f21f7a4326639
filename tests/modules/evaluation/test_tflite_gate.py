import math
from pathlib import Path

import pydantic
import pytest

from modules.evaluation import tflite_gate
from modules.evaluation.tflite_gate import TFLiteGateSettings, rise_check
from modules.evaluation.tflite_results import FileFigures, FileResult, GreedyAgreement, read_results, write_results

SETTINGS = TFLiteGateSettings()


def _figures(nll_sum: float, tokens: int = 100, whole_split: bool = True) -> FileFigures:
    """Returns the figures of a file; the SavedModel has 2 nats per token."""
    return FileFigures(
        nll_sum=nll_sum,
        float_nll_sum=2.0 * tokens,
        documents=3,
        tokens=tokens,
        whole_split=whole_split,
        greedy_agreement=GreedyAgreement(prompts=2, tokens=64, mean=34.0, least=4, whole=1),
        decode_tokens_per_second=5.0,
        float_decode_tokens_per_second=3.0,
        size_bytes=7,
        sha256="abc",
    )


def test_the_rise_is_the_relative_rise_in_perplexity() -> None:
    figures = _figures(nll_sum=201.0)
    assert figures.float_perplexity == pytest.approx(math.exp(2))
    assert figures.perplexity == pytest.approx(math.exp(2.01))
    assert figures.rise == pytest.approx(math.exp(2.01) / math.exp(2) - 1)


@pytest.mark.parametrize(
    ("precision", "nll_sum", "passed"),
    [("int8", 201.9, True), ("int8", 202.1, False), ("float16", 200.4, True), ("float16", 200.6, False)],
)
def test_each_precision_has_its_own_limit(precision, nll_sum: float, passed: bool) -> None:
    # 0.01 nats per token are a rise of 1%. The limits are 2% for int8 and 0.5% for float16.
    assert rise_check(precision, _figures(nll_sum), SETTINGS).passed is passed


def test_a_better_file_passes() -> None:
    assert rise_check("int8", _figures(nll_sum=190.0), SETTINGS).passed


@pytest.mark.parametrize("figures", [_figures(math.nan), _figures(math.inf), _figures(1e9), _figures(0.0, tokens=0)])
def test_a_rise_that_is_not_finite_fails(figures: FileFigures) -> None:
    assert not rise_check("int8", figures, SETTINGS).passed


def test_a_check_names_its_tokens_and_its_setting() -> None:
    check = rise_check("int8", _figures(205.0, whole_split=False), SETTINGS)
    assert check.sentence == (
        "rise in perplexity of int8 of the first 100 tokens: 5.127% is above 2% (evaluation.tflite.max_rise.int8)"
    )


def _written(folder: Path, on_failure: str) -> dict[str, FileResult]:
    settings = TFLiteGateSettings(on_failure=on_failure)
    figures = {"float16": _figures(200.0), "int8": _figures(math.nan)}
    checks = {precision: rise_check(precision, measured, settings) for precision, measured in figures.items()}
    write_results(folder, tflite_gate.file_results(figures, checks, settings=settings))
    assert "NaN" not in (folder / "files.json").read_text()
    return read_results(folder)


def test_only_the_failed_file_is_left_out(tmp_path: Path) -> None:
    files = _written(tmp_path, "leave_out")
    assert files["float16"] == FileResult(
        perplexity=pytest.approx(math.exp(2)),
        float_perplexity=pytest.approx(math.exp(2)),
        rise=0.0,
        documents=3,
        tokens=100,
        greedy_agreement=GreedyAgreement(prompts=2, tokens=64, mean=34.0, least=4, whole=1),
        decode_tokens_per_second=5.0,
        float_decode_tokens_per_second=3.0,
        size_bytes=7,
        sha256="abc",
        passed=True,
        released=True,
        verdict="rise in perplexity of float16: 0% is within 0.5% (evaluation.tflite.max_rise.float16)",
    )
    assert (files["int8"].perplexity, files["int8"].rise) == (None, None)
    assert (files["int8"].passed, files["int8"].released) == (False, False)


def test_with_stop_no_file_is_released(tmp_path: Path) -> None:
    files = _written(tmp_path, "stop")
    assert {precision: (result.passed, result.released) for precision, result in files.items()} == {
        "float16": (True, False),
        "int8": (False, False),
    }


def test_with_stop_every_file_must_pass_before_anything_ships() -> None:
    good, bad = (rise_check("int8", _figures(nll), SETTINGS) for nll in (200.0, 300.0))
    stop = TFLiteGateSettings(on_failure="stop")
    assert [tflite_gate.may_release(checks, stop) for checks in ([good, good], [good, bad])] == [True, False]
    assert [tflite_gate.may_release(checks, SETTINGS) for checks in ([good, good], [bad, bad])] == [True, True]


@pytest.mark.parametrize(
    "values", [{"max_rise": {"int4": 0.1}}, {"max_rise": {"int8": -0.1}}, {"on_failure": "ship"}, {"max_tokens": 0}]
)
def test_invalid_settings_are_refused(values: dict) -> None:
    with pytest.raises(pydantic.ValidationError, match=next(iter(values))):
        TFLiteGateSettings.model_validate(values)
