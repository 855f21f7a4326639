import pytest

from modules.evaluation.proportions import wilson_interval


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # By hand: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.96.
    [(8, 10, 0.4902, 0.9433), (0, 32, 0.0, 0.1072), (32, 32, 0.8928, 1.0), (50, 100, 0.4038, 0.5962)],
)
def test_wilson(hits, trials, low, high):
    assert wilson_interval(hits, trials) == pytest.approx((low, high), abs=1e-4)


def test_no_trials_tell_nothing():
    assert wilson_interval(0, 0) is None
