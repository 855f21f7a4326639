"""Confidence intervals of ratios of sums over documents, such as nats per token, and of shares of a sample."""

from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A ratio of sums, and the ends of its 95% confidence interval for other documents of the same kind."""

    ratio: float
    lower: float
    upper: float


class RatioSums(NamedTuple):
    """Sums over documents that estimate Σx / Σt. `plus` adds the sums of two parts of the data.

    The order of the documents and their distribution over workers do not matter.
    """

    documents: int = 0
    x: float = 0.0
    t: float = 0.0
    xx: float = 0.0
    xt: float = 0.0
    tt: float = 0.0

    @classmethod
    def of(cls, x: float, t: float) -> "RatioSums":
        """Returns the sums of a single document."""
        return cls(1, x, t, x * x, x * t, t * t)

    def plus(self, added: "RatioSums") -> "RatioSums":
        """Returns the sums over the documents of both."""
        documents = self.documents + added.documents
        return RatioSums(documents, *(left + right for left, right in zip(self[1:], added[1:], strict=True)))

    def estimate(self) -> Interval:
        """Returns the ratio and its interval.

        The ratio is NaN if Σt is 0. The ends of the interval are NaN for fewer than two documents.

        The variance is that of a ratio estimator, n / (n - 1) · Σ(x - r·t)² / (Σt)² (Cochran, "Sampling Techniques",
        3rd edition 1977, section 6.4). The quantile is Student's t with n - 1 degrees of freedom, because the sample
        consists of documents, not of tokens.
        """
        from scipy import stats  # the import takes half a second, and the command line does not need it

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
    """Returns the ends of a share's 95% interval; None without trials.

    Wilson's interval is valid for small samples too, and for shares near 0 and 1: E. B. Wilson, "Probable inference,
    the law of succession, and statistical inference", 1927. `0 of 32` gives 0 to 0.107, `8 of 10` 0.490 to 0.943.
    """
    from scipy import stats  # imported here for the same reason

    if not trials:
        return None
    interval = stats.binomtest(hits, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
