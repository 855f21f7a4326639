"""A share of a sample, and how well it is known."""


def wilson_interval(hits: int, trials: int) -> tuple[float, float] | None:
    """The 95% interval of a share: Wilson's, good for small samples and for shares near 0 and 1.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927. `0 of 32` gives 0 to
    0.107, `8 of 10` 0.490 to 0.943.

    Returns:
        Its ends, or None without trials.
    """
    from scipy import stats  # takes half a second

    if not trials:
        return None
    interval = stats.binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)
