"""Draws the results.

`python -m research.small_world.ablations.charts --results FILE.json --output docs/images`
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from .claims import CLAIMS, LAMBDA_CELL, MARGINS, Found, Rows, Side, column, judged, latest
from .report import grid
from .trials import GRID, MOTION_WORDS, OUTER, STRENGTHS, lambda_trial

BLUE, ORANGE, GREY = "#4272b8", "#d97742", "#8c8c96"
INKS = {"more": BLUE, "less": ORANGE, "no effect": "black", "undecided": GREY}
DOTS_PER_INCH = 100
LAYERS = ("in 1", "in 2", "mid", "out 1", "out 2", "out 3", "out 4")
HEAT_MAPS = ("direction", "nearest", "colour")


def claims_chart(runs: Sequence[Rows]) -> Figure:
    """Every claim's main tests with their intervals: shares on the left, decibels on the right."""
    all_found = [(claim.name, f) for claim in CLAIMS for f in judged(claim, latest(claim, runs))]
    found = [(name, f) for name, f in all_found if f.test.main]
    in_decibels = [pair for pair in found if pair[1].test.endpoint in MARGINS]
    shares = [pair for pair in found if pair not in in_decibels]
    figure = Figure(figsize=(13, 1.4 + 0.42 * max(len(shares), len(in_decibels))))
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    _intervals(left, shares, 100, 5, "points")
    _intervals(right, in_decibels, 1, 0.5, "dB")
    marks = [left.plot([], [], "o", color=ink, label=name)[0] for name, ink in INKS.items()]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False)
    return figure


def _intervals(
    axes, pairs: Sequence[tuple[str, Found]], factor: float, margin: float, unit: str
) -> None:
    for row, (_, item) in enumerate(pairs):
        d = item.difference
        ends = np.array([[d.mean - d.low], [d.high - d.mean]]) * factor
        axes.errorbar(d.mean * factor, row, xerr=ends, fmt="o", color=INKS[item.verdict])
    axes.axvspan(-margin, margin, color="#e8e8ec", zorder=0)
    axes.axvline(0, color="black", linewidth=1)
    names = [
        f"{name[:1]}. {item.test.endpoint}: {item.test.first}\n- {item.test.second}"
        for name, item in pairs
    ]
    axes.set_yticks(range(len(pairs)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"difference in {unit}; grey: no effect")


def gates_chart(gates: Mapping[str, Mapping[str, Sequence[float]]], rows: Rows) -> Figure:
    """Learned lambda per layer, and what a factor on it does: outer and middle layers."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes, *panels = figure.subplots(1, 3, width_ratios=(1.6, 1, 1))
    learned = gates[LAMBDA_CELL]
    inks = [BLUE if i in OUTER else ORANGE for i in range(len(LAYERS))]
    means = np.mean(list(learned.values()), axis=0)
    axes.bar(LAYERS, means - 1, bottom=1, color=inks, width=0.55)
    for run in learned.values():
        axes.plot(LAYERS, run, "o", color="black", markersize=4)
    axes.axhline(1, color="black", linewidth=1)
    axes.set_title("λ after training (start: 1; dots: seeds)")
    for panel, endpoint in zip(panels, ("distance", "nearest"), strict=True):
        plain, margin = _mean(rows, MOTION_WORDS, endpoint), MARGINS.get(endpoint, 0.05)
        panel.axhspan(plain - margin, plain + margin, color="#e8e8ec", zorder=0)
        for place, ink in (("outer", BLUE), ("middle", ORANGE)):
            points = [(f, _mean(rows, lambda_trial(place, f), endpoint)) for f in STRENGTHS]
            points = [point for point in points if np.isfinite(point[1])]
            if points:
                line = zip(*sorted([(1.0, plain), *points]), strict=True)
                panel.plot(*line, "o-", color=ink, label=f"{place} layers")
        panel.set_title(f"{endpoint}; grey: no effect")
        panel.set_xlabel("λ times a factor")
        panel.legend(frameon=False)
    return figure


def _mean(rows: Rows, trial: str, endpoint: str) -> float:
    values = column(rows, Side(LAMBDA_CELL, trial), endpoint)
    return float(np.mean(list(values.values()))) if values else float("nan")


def grid_chart(rows: Rows) -> Figure:
    """One heat map per figure: the text's scale down, the image's across."""
    figure = Figure(figsize=(2.8 * len(HEAT_MAPS), 3.0), layout="constrained")
    for axes, endpoint in zip(figure.subplots(1, len(HEAT_MAPS)), HEAT_MAPS, strict=True):
        decibels = endpoint in MARGINS
        values = grid(rows, LAMBDA_CELL, endpoint) * (1 if decibels else 100)
        axes.imshow(values, cmap="Blues")
        dark = (values.min() + values.max()) / 2
        for (row, place), value in np.ndenumerate(values):
            ink = "white" if value > dark else "black"
            axes.text(place, row, f"{value:.{int(decibels)}f}", ha="center", va="center", color=ink)
        axes.set_title(f"{endpoint}, {'dB' if decibels else '%'}")
        axes.set_xlabel("image scale")
        axes.set_xticks(range(len(GRID)), [f"{g:g}" for g in GRID])
        axes.set_yticks(range(len(GRID)), [f"{g:g}" for g in GRID])
    figure.axes[0].set_ylabel("text scale")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    results = [json.loads(file.read_text(encoding="utf-8")) for file in arguments.results]
    charts = {"claims": claims_chart([result["rows"] for result in results])}
    for result in results:
        rows = result["rows"]
        if LAMBDA_CELL in rows:
            charts["lambda"] = gates_chart(result["gates"], rows)
        if any(trial.startswith("cfg") for trial in rows.get(LAMBDA_CELL, ())):  # They come last.
            charts["guidance"] = grid_chart(rows)
    for name, chart in charts.items():
        chart.savefig(arguments.output / f"questions_{name}.png", dpi=DOTS_PER_INCH)


if __name__ == "__main__":
    main()
