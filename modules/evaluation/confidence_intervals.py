"""Confidence intervals: of ratios of sums over documents, such as nats per token, and of shares of a sample."""

from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A ratio of sums and where it would lie, with 95% confidence, for other documents of the same kind."""

    ratio: float
    lower: float
    upper: float


class RatioSums(NamedTuple):
    """What is summed over documents to estimate Σx / Σt; sums of parts of the data are added by `plus`.

    The order of the documents, and how they are spread over workers, do not matter.
    """

    documents: int = 0
    x: float = 0.0
    t: float = 0.0
    xx: float = 0.0
    xt: float = 0.0
    tt: float = 0.0

    @classmethod
    def of(cls, x: float, t: float) -> "RatioSums":
        """The sums of one document."""
        return cls(1, x, t, x * x, x * t, t * t)

    def plus(self, other: "RatioSums") -> "RatioSums":
        """The sums over both."""
        documents = self.documents + other.documents
        return RatioSums(documents, *(one + another for one, another in zip(self[1:], other[1:], strict=True)))

    def estimate(self) -> Interval:
        """The ratio and its interval; NaN where Σt is 0, and no interval (NaN) for fewer than two documents.

        The variance is that of a ratio estimator, n / (n - 1) · Σ(x - r·t)² / (Σt)² (Cochran, "Sampling Techniques",
        3rd edition 1977, section 6.4), the quantile Student's t with n - 1 degrees of freedom: documents, not tokens,
        are what was drawn.
        """
        from scipy import stats  # takes half a second, which the command line does not need

        if self.t == 0:
            return Interval(np.nan, np.nan, np.nan)
        ratio = self.x / self.t
        if self.documents < 2:
            return Interval(ratio, np.nan, np.nan)
        squares = max(self.xx - 2 * ratio * self.xt + ratio * ratio * self.tt, 0.0)
        error = np.sqrt(squares * self.documents / (self.documents - 1)) / abs(self.t)
        reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, self.documents - 1) * error)
        return Interval(ratio, ratio - reach, ratio + reach)


def wilson_interval(hits: int, trials: int) -> tuple[float, float] | None:
    """Returns the 95% interval of a share: Wilson's, good for small samples and for shares near 0 and 1.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927. `0 of 32` gives 0 to
    0.107, `8 of 10` 0.490 to 0.943.

    Returns:
        Its ends, or None without trials.
    """
    from scipy import stats  # as above

    if not trials:
        return None
    interval = stats.binomtest(hits, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
