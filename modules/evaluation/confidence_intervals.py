"""Ratios of sums over documents, such as nats a token, with their confidence intervals."""

from typing import NamedTuple

import numpy as np
from scipy import stats

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
        if self.t == 0:
            return Interval(np.nan, np.nan, np.nan)
        ratio = self.x / self.t
        if self.documents < 2:
            return Interval(ratio, np.nan, np.nan)
        squares = max(self.xx - 2 * ratio * self.xt + ratio * ratio * self.tt, 0.0)
        error = np.sqrt(squares * self.documents / (self.documents - 1)) / abs(self.t)
        reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, self.documents - 1) * error)
        return Interval(ratio, ratio - reach, ratio + reach)
