"""Draws the results with Pillow.

`python -m research.small_world.ablations.charts --results FILE.json --output docs/images`
"""

import argparse
import json
from collections.abc import Sequence
from math import ceil, floor
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from .arms import ARMS, BASE, FULL
from .report import SHARES, interval
from .takes import GRID, OUTER

SCALE = 2  # drawn larger, then reduced: Pillow's lines are not smoothed
INK, FAINT, PAPER = (40, 40, 46), (221, 221, 226), (252, 252, 250)
BLUE, ORANGE, GREY = (66, 114, 184), (217, 119, 66), (140, 140, 150)
LAYERS = ("in 1", "in 2", "mid", "out 1", "out 2", "out 3", "out 4")
HEAT_MAPS = ("as told", "first frame, dB", "all frames, dB", "colour kept")
PANELS = ("direction as told", "first frame, dB", "all frames, dB", "FVD")


class Canvas:
    """A picture whose coordinates are those of the reduced one."""

    def __init__(self, width: int, height: int):
        self.picture = Image.new("RGB", (width * SCALE, height * SCALE), PAPER)
        self.draw = ImageDraw.Draw(self.picture)

    def text(self, x: float, y: float, text: str, size: int = 13, anchor: str = "lm", ink=INK):
        font = ImageFont.load_default(size * SCALE)
        self.draw.text((x * SCALE, y * SCALE), text, ink, font, anchor=anchor)

    def line(self, x0: float, y0: float, x1: float, y1: float, ink=FAINT, width: float = 1):
        points = tuple(v * SCALE for v in (x0, y0, x1, y1))
        self.draw.line(points, ink, round(width * SCALE))

    def box(self, x0: float, y0: float, x1: float, y1: float, ink) -> None:
        self.draw.rectangle(tuple(v * SCALE for v in (x0, y0, x1, y1)), ink)

    def dot(self, x: float, y: float, radius: float, ink) -> None:
        box = tuple(v * SCALE for v in (x - radius, y - radius, x + radius, y + radius))
        self.draw.ellipse(box, ink)

    def save(self, path: Path) -> None:
        size = (self.picture.width // SCALE, self.picture.height // SCALE)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.picture.resize(size, Image.Resampling.LANCZOS).save(path, optimize=True)


def lambda_chart(gates: Sequence[Sequence[float]]) -> Canvas:
    """Learned lambda per layer: a bar for the mean, a dot per seed."""
    canvas = Canvas(760, 384)
    left, top, bottom, step = 60, 56, 300, 96
    values = [v for run in gates for v in run] + [1.0]
    low = min(0.9, *(v - 0.03 for v in values))
    high = max(1.1, *(v + 0.03 for v in values))

    def y_of(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    canvas.text(left, 26, "lambda per layer after training (start: 1)", 17)
    for i in range(5):
        tick = low + (high - low) * i / 4
        canvas.line(left, y_of(tick), left + step * len(LAYERS), y_of(tick))
        canvas.text(left - 8, y_of(tick), f"{tick:.2f}", 12, "rm")
    for i, name in enumerate(LAYERS):
        centre = left + step * (i + 0.5)
        runs = [run[i] for run in gates]
        mean = sum(runs) / len(runs)
        ends = sorted((y_of(mean), y_of(1.0)))
        canvas.box(centre - 26, ends[0], centre + 26, ends[1], BLUE if i in OUTER else ORANGE)
        for run in runs:
            canvas.dot(centre, y_of(run), 3, INK)
        canvas.text(centre, bottom + 16, name, 13, "mm")
        canvas.text(centre, bottom + 33, f"{mean:.2f}", 12, "mm", GREY)
    canvas.line(left, y_of(1.0), left + step * len(LAYERS), y_of(1.0), INK)
    for x, ink, words in ((left, BLUE, "outer, 8 x 8 latent"), (230, ORANGE, "middle, 4 x 4")):
        canvas.box(x, 364, x + 10, 374, ink)
        canvas.text(x + 16, 369, words, 12)
    canvas.dot(375, 369, 3, INK)
    canvas.text(384, 369, "one seed", 12)
    return canvas


def grid_chart(takes: dict[str, list[dict[str, Any]]]) -> Canvas:
    """One heat map per figure: the text's scale down, the image's across."""
    cell, gap = 66, 44
    width = 3 * cell + gap
    canvas = Canvas(56 + width * len(HEAT_MAPS), 330)
    canvas.text(56, 24, "Two guidance scales: text (down) and image (across)", 17)
    for number, column in enumerate(HEAT_MAPS):
        left, top = 56 + number * width, 84
        values = {
            (a, b): takes[f"cfg {a:g}, image cfg {b:g}"][0][column]["mean"]
            for a in GRID
            for b in GRID
        }
        low, high = min(values.values()), max(values.values())
        canvas.text(left, 60, f"{column}, %" if column in SHARES else column, 14)
        for row, text in enumerate(GRID):
            y = top + row * cell
            if number == 0:
                canvas.text(left - 10, y + cell / 2, f"{text:g}", 13, "rm")
            for place, image in enumerate(GRID):
                value, x = values[text, image], left + place * cell
                depth = (value - low) / (high - low) if high > low else 0.5
                ink = tuple(
                    round(p + (b - p) * (0.1 + 0.75 * depth))
                    for p, b in zip(PAPER, BLUE, strict=True)
                )
                canvas.box(x, y, x + cell - 2, y + cell - 2, ink)
                words = f"{value * 100:.0f}" if column in SHARES else f"{value:.1f}"
                over = PAPER if depth > 0.6 else INK
                canvas.text(x + cell / 2 - 1, y + cell / 2 - 1, words, 15, "mm", over)
        for place, image in enumerate(GRID):
            canvas.text(left + place * cell + cell / 2, top + 3 * cell + 14, f"{image:g}", 13, "mm")
    return canvas


def arms_chart(found: dict[str, Any]) -> Canvas:
    """A dot and its 95 % interval per arm, one panel per figure."""
    names = [name for name in ("still picture", BASE, *ARMS) if name in found]
    left, width, row, top = 150, 190, 30, 84
    canvas = Canvas(left + width * len(PANELS) + 20, top + row * len(names) + 60)
    canvas.text(20, 24, "Arms from one base, 95 % intervals", 17)
    for i, name in enumerate(names):
        canvas.text(left - 14, top + row * (i + 0.5), name, 13, "rm")
    for number, column in enumerate(PANELS):
        cells = {name: _cell(found[name][""], column) for name in names}
        _panel(canvas, cells, column, (left + number * width, top, width - 30, row))
    y = top + row * len(names) + 44
    for x, ink, words in (
        (left, BLUE, "three seeds, interval over seeds"),
        (left + 260, GREY, "one seed, interval over clips (none for FVD)"),
    ):
        canvas.dot(x, y, 4, ink)
        canvas.text(x + 12, y, words, 12)
    return canvas


def _cell(runs: Sequence[dict[str, Any]], column: str) -> tuple[float, float, bool]:
    mean, half = interval(runs, column)
    return mean, half or 0.0, len(runs) >= 3


def _panel(
    canvas: Canvas,
    cells: dict[str, tuple[float, float, bool]],
    column: str,
    place: tuple[float, float, float, float],
) -> None:
    left, top, width, row = place
    share, bottom = column in SHARES, top + row * len(cells)
    # A still picture is exact on its first frame, far off the scale.
    shown = {n: c for n, c in cells.items() if not (column.startswith("first") and c[0] > 50)}
    low = (
        0.0 if share or column == "FVD" else floor(min(m - h for m, h, _ in shown.values()) / 2) * 2
    )
    high = max(m + h for m, h, _ in shown.values())
    # The middle tick is a whole number, too.
    step = 200 if column == "FVD" else 2
    high = 1.0 if share else low + step * ceil((high - low) / step)

    def x_of(value: float) -> float:
        return left + width * (min(max(value, low), high) - low) / (high - low)

    canvas.text(left, top - 20, f"{column}, %" if share else column, 14)
    for i in range(3):
        tick = low + (high - low) * i / 2
        canvas.line(x_of(tick), top, x_of(tick), bottom)
        label = f"{tick * 100:.0f}" if share else f"{tick:.0f}"
        canvas.text(x_of(tick), bottom + 12, label, 12, "mm")
    for i, name in enumerate(cells):
        if name not in shown:
            continue
        mean, half, several = shown[name]
        y, ink = top + row * (i + 0.5), BLUE if several else GREY
        canvas.line(x_of(mean - half), y, x_of(mean + half), y, ink, 2)
        canvas.dot(x_of(mean), y, 4.5, ink)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text(encoding="utf-8"))
    found = results["figures"]
    arms_chart(found).save(arguments.output / "questions_arms.png")
    if results["gates"]:
        lambda_chart(results["gates"]).save(arguments.output / "questions_lambda.png")
    takes = found.get(FULL, {})
    if all(f"cfg {a:g}, image cfg {b:g}" in takes for a in GRID for b in GRID):
        grid_chart(takes).save(arguments.output / "questions_guidance.png")


if __name__ == "__main__":
    main()
