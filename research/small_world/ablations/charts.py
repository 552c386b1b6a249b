"""Draws the results.

`python -m research.small_world.ablations.charts --results FILE.json --output docs/images`
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .arms import ARMS, BASE, FULL
from .report import SHARES, interval, seeds_used
from .trials import GRID, OUTER

BLUE, ORANGE, GREY = "#4272b8", "#d97742", "#8c8c96"
DOTS_PER_INCH = 100
LAYERS = ("in 1", "in 2", "mid", "out 1", "out 2", "out 3", "out 4")
HEAT_MAPS = ("as prompted", "first frame, dB", "all frames, dB", "colour kept")
PANELS = ("direction as prompted", "first frame, dB", "all frames, dB", "FVD")
# A still picture is exact on its first frame, far off the scale.
OFF_SCALE = 50.0


def lambda_chart(gates: Sequence[Sequence[float]]) -> Figure:
    """Learned lambda per layer: a bar for the mean, a dot per seed."""
    figure = Figure(figsize=(7.6, 3.9), layout="constrained")
    axes = figure.subplots()
    means = np.mean(gates, axis=0)
    inks = [BLUE if i in OUTER else ORANGE for i in range(len(LAYERS))]
    axes.bar(LAYERS, means - 1, bottom=1, color=inks, width=0.55)
    for run in gates:
        axes.plot(LAYERS, run, "o", color="black", markersize=4)
    axes.axhline(1, color="black", linewidth=1)
    axes.set_title("lambda per layer after training (start: 1)")
    axes.set_xlabel("blue: outer, 8 x 8 latent; orange: middle, 4 x 4; dots: seeds")
    return figure


def grid_chart(trials: dict[str, list[dict[str, Any]]]) -> Figure:
    """One heat map per figure: the text's scale down, the image's across."""
    figure = Figure(figsize=(2.6 * len(HEAT_MAPS), 3.0), layout="constrained")
    for axes, column in zip(figure.subplots(1, len(HEAT_MAPS)), HEAT_MAPS, strict=True):
        factor, digits = (100, 0) if column in SHARES else (1, 1)
        values = np.array(
            [
                [trials[f"cfg {a:g}, image cfg {b:g}"][0][column]["mean"] * factor for b in GRID]
                for a in GRID
            ]
        )
        axes.imshow(values, cmap="Blues")
        dark = (values.min() + values.max()) / 2
        for (row, place), value in np.ndenumerate(values):
            ink = "white" if value > dark else "black"
            axes.text(place, row, f"{value:.{digits}f}", ha="center", va="center", color=ink)
        axes.set_title(_label(column))
        axes.set_xlabel("image scale")
        axes.set_xticks(range(len(GRID)), [f"{g:g}" for g in GRID])
        axes.set_yticks(range(len(GRID)), [f"{g:g}" for g in GRID])
    figure.axes[0].set_ylabel("text scale")
    return figure


def arms_chart(found: dict[str, Any]) -> Figure:
    """A dot and its 95 % interval per arm, one panel per figure."""
    names = [name for name in ("still picture", BASE, *ARMS) if name in found]
    figure = Figure(figsize=(9.5, 1.6 + 0.3 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, column in zip(panels, PANELS, strict=True):
        factor = 100 if column in SHARES else 1
        for row, name in enumerate(names):
            mean, half = interval(found[name][""], column)
            if column.startswith("first") and mean > OFF_SCALE:
                continue
            ink = BLUE if seeds_used(found[name][""]) > 1 else GREY
            axes.errorbar(mean * factor, row, xerr=(half or 0) * factor, fmt="o", color=ink)
        axes.set_title(_label(column))
        if column in SHARES:
            axes.set_xlim(-4, 104)
        axes.grid(axis="x", alpha=0.4)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    figure.supxlabel(
        "95 % intervals. Blue: three seeds, over seeds; grey: one seed, over clips (none for FVD)",
        fontsize="small",
    )
    return figure


def _label(column: str) -> str:
    return f"{column}, %" if column in SHARES else column


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text(encoding="utf-8"))
    found = results["figures"]
    charts = {"arms": arms_chart(found)}
    if results["gates"]:
        charts["lambda"] = lambda_chart(results["gates"])
    trials = found.get(FULL, {})
    if all(f"cfg {a:g}, image cfg {b:g}" in trials for a in GRID for b in GRID):
        charts["guidance"] = grid_chart(trials)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, chart in charts.items():
        chart.savefig(arguments.output / f"questions_{name}.png", dpi=DOTS_PER_INCH)


if __name__ == "__main__":
    main()
