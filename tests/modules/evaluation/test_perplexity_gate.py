import math
from pathlib import Path

import pydantic
import pytest

from modules.evaluation.gates import failed
from modules.evaluation.perplexity_gate import PerplexityGateSettings
from modules.evaluation.results import Change, Evaluation, Figures, SliceResult


def result(perplexity: float, *, name: str = "", documents: int = 100, change: float | None = None) -> SliceResult:
    figures = Figures(
        perplexity=perplexity, perplexity_interval=(perplexity - 1, perplexity + 1),
        bits_per_byte=2.0, bits_per_byte_interval=None,
        token_accuracy=0.3, token_accuracy_interval=None,
        tokens=1000, bytes=4000,
    )  # fmt: skip
    feature, _, value = name.partition("=")
    return SliceResult(
        feature=feature, value=value, documents=documents, candidate=figures,
        baseline=None if change is None else figures,
        change=None if change is None else Change(perplexity=change, perplexity_interval=None),
    )  # fmt: skip


def evaluation(*slices: SliceResult, same_tokenizer: bool | None = None) -> Evaluation:
    return Evaluation(
        window=128, stride=128, eval_fingerprint="a", baseline_eval_fingerprint=None, same_tokenizer=same_tokenizer,
        slices=list(slices),
    )  # fmt: skip


def sentences(settings: dict, measured: Evaluation, perplexity_before: float | None = None) -> list[str]:
    """Returns the sentences of the checks that fail."""
    checks = PerplexityGateSettings(**settings).check(measured, perplexity_before)
    assert checks
    return [check.sentence for check in failed(checks)]


def test_a_first_model_is_compared_only_with_max_perplexity() -> None:
    assert sentences({"max_perplexity": 150}, evaluation(result(150.0))) == []
    assert sentences({"max_perplexity": 150}, evaluation(result(151.0))) == [
        "perplexity: 151 is above 150 (evaluation.max_perplexity)"
    ]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_figure_that_is_not_finite_does_not_pass(bad: float) -> None:
    assert len(sentences({"max_perplexity": 1e300}, evaluation(result(bad)))) == 1
    assert len(sentences({"max_perplexity": 1e300, "max_regression": 1e9}, evaluation(result(1.0, change=bad)))) == 1
    assert len(sentences({"max_perplexity": 9, "min_improvement": 0}, evaluation(result(1.0)), bad)) == 1


def test_a_rise_in_perplexity_above_max_regression_fails() -> None:
    settings = {"max_perplexity": 200, "max_regression": 0.02}
    assert sentences(settings, evaluation(result(150.0, change=0.02))) == []
    assert sentences(settings, evaluation(result(150.0, change=0.03))) == [
        "rise in perplexity over the latest blessed model: 3% is above 2% (evaluation.max_regression)"
    ]
    assert sentences(settings, evaluation(result(150.0, change=0.03), same_tokenizer=False)) == [
        "rise in perplexity over the latest blessed model, from bits per byte: "
        "3% is above 2% (evaluation.max_regression)"
    ]


def test_an_improvement_over_the_preset_below_min_improvement_fails() -> None:
    settings = {"max_perplexity": 200, "min_improvement": 0.1}
    assert sentences(settings, evaluation(result(80.0)), 100.0) == []
    assert sentences(settings, evaluation(result(95.0)), 100.0) == [
        "improvement in perplexity over the preset: 5% is below 10% (evaluation.min_improvement)"
    ]
    assert sentences(settings, evaluation(result(95.0)), None) == [
        "improvement in perplexity over the preset: not measured (evaluation.min_improvement)"
    ]


def test_a_limit_without_a_value_applies_to_every_large_enough_slice_of_the_feature() -> None:
    measured = evaluation(
        result(100.0),
        result(90.0, name="source=a"),
        result(120.0, name="source=b", change=0.2),
        result(900.0, name="source=c", documents=4),
        result(130.0, name="length=1-15"),
    )
    limit = {"feature": "source", "max_perplexity": 110, "max_regression": 0.1, "min_documents": 5}
    assert sentences({"max_perplexity": 200, "slice_limits": [limit]}, measured) == [
        "perplexity of source=b: 120 is above 110 (evaluation.slice_limits.0.max_perplexity)",
        "rise in perplexity over the latest blessed model of source=b: "
        "20% is above 10% (evaluation.slice_limits.0.max_regression)",
    ]


def test_a_limit_for_a_slice_that_does_not_exist_fails() -> None:
    limits = [
        {"feature": "source", "value": "a", "max_perplexity": 99},
        {"feature": "source", "value": "gone", "max_perplexity": 9},
    ]
    measured = evaluation(result(100.0), result(90.0, name="source=a"))
    assert sentences({"max_perplexity": 200, "slice_limits": limits}, measured) == [
        "perplexity of source=gone: not measured (evaluation.slice_limits.1.max_perplexity)"
    ]


def test_a_limit_for_which_no_slice_is_large_enough_fails() -> None:
    limits = [{"feature": "source", "max_regression": 0.1, "min_documents": 500}]
    measured = evaluation(result(100.0), result(90.0, name="source=a"))
    assert sentences({"max_perplexity": 200, "slice_limits": limits}, measured) == [
        "rise in perplexity over the latest blessed model of every source: not measured "
        "(evaluation.slice_limits.0.max_regression)"
    ]


def test_a_slice_limit_without_a_limit_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="needs `max_perplexity` or `max_regression`"):
        PerplexityGateSettings(max_perplexity=1, slice_limits=[{"feature": "source"}])


def test_an_evaluation_is_read_as_it_was_written_and_nan_is_written_as_null(tmp_path: Path) -> None:
    measured = evaluation(result(100.0, change=0.1), result(math.nan, name="source=a"), same_tokenizer=True)
    measured.write(tmp_path)
    again = Evaluation.read(tmp_path)
    assert again.overall == measured.overall
    assert again.slices[1].name == "source=a"
    assert math.isnan(again.slices[1].candidate.perplexity)
    assert "NaN" not in (tmp_path / "metrics.json").read_text()
