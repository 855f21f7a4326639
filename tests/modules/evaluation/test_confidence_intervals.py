import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.evaluation.confidence_intervals import RatioSums, wilson_interval


def total(pairs: list[tuple[float, float]]) -> RatioSums:
    sums = RatioSums()
    for x, t in pairs:
        sums = sums.plus(RatioSums.of(x, t))
    return sums


def test_the_interval_equals_a_calculation_by_hand() -> None:
    # r = 6 / 4 = 1.5; residuals 1 - 1.5 * 1 = -0.5 and 5 - 1.5 * 3 = 0.5; se = sqrt(0.5 * 2 / 1) / 4 = 0.25;
    # Student's t with one degree of freedom reaches 12.706.
    estimate = total([(1.0, 1.0), (5.0, 3.0)]).estimate()
    assert estimate == pytest.approx((1.5, 1.5 - 12.706 * 0.25, 1.5 + 12.706 * 0.25), rel=1e-4)


def test_documents_with_the_same_ratio_have_an_interval_of_width_zero() -> None:
    assert total([(2.0, 1.0), (4.0, 2.0), (20.0, 10.0)]).estimate() == (2.0, 2.0, 2.0)


def test_a_single_document_has_no_interval_and_no_document_has_no_ratio() -> None:
    assert math.isnan(total([]).estimate().ratio)
    assert math.isnan(total([(0.0, 0.0), (0.0, 0.0)]).estimate().ratio)
    estimate = total([(3.0, 2.0)]).estimate()
    assert estimate.ratio == 1.5
    assert math.isnan(estimate.lower)
    assert math.isnan(estimate.upper)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_ratio_is_not_finite_if_a_value_is_not(bad: float) -> None:
    assert not math.isfinite(total([(1.0, 1.0), (bad, 2.0)]).estimate().ratio)


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.integers(1, 1000).map(float)), min_size=2, max_size=30),
    st.randoms(use_true_random=False),
)
def test_the_ratio_does_not_depend_on_order_and_parts(pairs: list[tuple[float, float]], random) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)
    cut = random.randrange(len(shuffled) + 1)
    in_parts = total(shuffled[:cut]).plus(total(shuffled[cut:]))
    assert in_parts.estimate().ratio == pytest.approx(total(pairs).estimate().ratio, rel=1e-12)


def test_the_interval_contains_the_truth_in_about_95_percent_of_samples() -> None:
    """Draws 400 samples of 60 documents; about 95% of their intervals must contain the truth, 2 nats per token."""
    numbers = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        tokens = numbers.integers(5, 200, 60).astype(float)
        nats = tokens * numbers.normal(2.0, 0.5, 60)  # some documents are harder than others
        _, lower, upper = total(list(zip(nats, tokens, strict=True))).estimate()
        hits += lower <= 2.0 <= upper
    assert 0.91 <= hits / 400 <= 0.98


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # By hand: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.96.
    [(8, 10, 0.4902, 0.9433), (0, 32, 0.0, 0.1072), (32, 32, 0.8928, 1.0), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_intervals_equal_a_calculation_by_hand(hits, trials, low, high):
    assert wilson_interval(hits, trials) == pytest.approx((low, high), abs=1e-4)


def test_without_trials_there_is_no_interval():
    assert wilson_interval(0, 0) is None
