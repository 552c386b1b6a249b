"""Draws how far objects go by the dial's position."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..intervals import mean_interval
from .dial import POSITIONS
from .scenes import Figures

INKS = {"speed": "#4272b8", "lambda": "#d97742", "start": "#3c8c5a"}
ASIDE = 0.015  # Points of different means are drawn beside each other.
DOTS_PER_INCH = 100


def chart(found: Figures) -> Figure:
    """A line for each means: the mean share of the distance at 0, with its 95 % interval."""
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for number, (means, turned) in enumerate(POSITIONS.items()):
        points = {motion: _mean(found[f"{means} {motion:+.1f}"]) for motion in turned}
        points[0.0] = (1.0, 0.0, 0.0)
        at = np.array(sorted(points))
        middle, below, above = np.array([points[motion] for motion in at]).T
        axes.errorbar(
            at + (number - 1.5) * ASIDE,
            middle,
            (below, above),
            fmt="o-",
            markersize=4,
            capsize=3,
            color=INKS[means],
            label=means,
        )
    axes.set_xlabel("motion")
    axes.set_ylabel("distance, as a share of that at 0")
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.grid(axis="y", alpha=0.4)
    axes.legend(title="means")
    return figure


def _mean(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and how far its interval reaches below and above; without what was not seen."""
    seen = [value for value in values if np.isfinite(value)]
    middle = float(np.mean(seen))
    low, high = mean_interval(seen)
    return middle, middle - low, high - middle
