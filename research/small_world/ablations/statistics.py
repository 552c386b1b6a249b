"""Paired differences between two sets of clips, their intervals, and what they decide.

Both sets have the same seeds and the same scenes with the same noise, so each clip has a partner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

DRAWS = 10_000
LEVEL = 0.95
FEWEST_SEEDS = 3

Verdict = Literal["more", "less", "no effect", "undecided"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean difference, its 95 % interval and the two-sided p-value of "none". seeds: how many."""

    mean: float
    low: float
    high: float
    p: float
    seeds: int


def difference(first: np.ndarray, second: np.ndarray, draws: int = DRAWS) -> Difference:
    """first - second, both `[seeds, scenes]`, by a bootstrap of seeds, then of scenes.

    The scenes drawn serve all seeds drawn, as they did in the runs (Owen 2007, "pigeonhole"). For
    few seeds their draws are spread by sqrt(n / (n - 1)), as a sample's variance is. Raises
    ValueError for other shapes.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"Found {first.shape} and {second.shape}; both are [seeds, scenes].")
    pairs = first.astype(np.float64) - second
    seeds, scenes = pairs.shape
    mean = float(pairs.mean())
    random = np.random.default_rng(0)
    of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds
    of_scenes = random.multinomial(scenes, np.full(scenes, 1 / scenes), draws) / scenes
    drawn = ((of_seeds @ pairs) * of_scenes).sum(axis=1)
    by_seed = of_seeds @ pairs.mean(axis=1)
    drawn += (by_seed - mean) * ((seeds / max(1, seeds - 1)) ** 0.5 - 1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    one_sided = (min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1) / (draws + 1)
    return Difference(mean, float(low), float(high), min(1.0, float(2 * one_sided)), seeds)


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for all that are tested together (Holm 1979)."""
    order = np.argsort(values)
    factors = len(values) - np.arange(len(values))
    adjusted = np.minimum(1, np.maximum.accumulate(np.asarray(values)[order] * factors))
    out = np.empty(len(values))
    out[order] = adjusted
    return out.tolist()


def verdict(found: Difference, adjusted: float, margin: float) -> Verdict:
    """What a difference decides. margin: within it an effect is none.

    adjusted: the p-value among all that are tested together.
    """
    if found.seeds < FEWEST_SEEDS:
        return "undecided"
    if -margin <= found.low and found.high <= margin:
        return "no effect"
    if adjusted >= 1 - LEVEL:
        return "undecided"
    return "more" if found.mean > 0 else "less"
