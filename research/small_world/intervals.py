"""95 % intervals of shares and of means."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """Low and high end for `hits` of `count`, by Wilson's score (1927)."""
    found = stats.binomtest(hits, count).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def mean_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Low and high end for the mean, by Student's t; a single value has none."""
    center = float(np.mean(values))
    error = float(stats.sem(values)) if len(values) > 1 else 0.0
    if not error:
        return center, center
    low, high = stats.t.interval(LEVEL, len(values) - 1, loc=center, scale=error)
    return float(low), float(high)


def half_width(error: float) -> float:
    """Of a mean over many values with this standard error."""
    return float(stats.norm.interval(LEVEL, scale=error)[1]) if error else 0.0
