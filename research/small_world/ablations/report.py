"""Tables of the results, in Markdown.

`python -m research.small_world.ablations.report --results FILE.json --document FILE.md` puts them
between the document's two marks.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..intervals import half_width, mean_interval, share_interval
from .arms import ARMS, BASE, FULL
from .trials import GRID, lambda_trials

COLUMNS = (
    "direction as prompted",
    "size as prompted",
    "direction, made / prompted",
    "first frame, dB",
    "all frames, dB",
    "motion read as prompted",
    "shape read as prompted",
    "FVD",
    "KVD",
)
SHARES = (
    "direction as prompted",
    "size as prompted",
    "as prompted",
    "colour kept",
    "motion read as prompted",
    "shape read as prompted",
)
REFERENCES = ("true clips", "autoencoder alone", "still picture", BASE)
FEWEST_SEEDS = 3  # For an interval over seeds.

BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"

Figures = dict[str, Any]


def interval(runs: Sequence[Figures], column: str) -> tuple[float, float | None]:
    """Mean and half width of the 95 % interval.

    From three runs on over the seeds (Student); for fewer over the clips of the first, None for
    distances. A share's is at least that of its clips, so it is not 0 where all of them agree.
    """
    used = runs[: seeds_used(runs)]
    means = [run[column]["mean"] for run in used]
    mean, half = float(np.mean(means)), None
    if len(used) > 1:
        half = mean_interval(means)[1] - mean
    elif "error" in used[0][column]:
        half = half_width(used[0][column]["error"])
    if column in SHARES:
        count = sum(run[column]["n"] for run in used)
        low, high = share_interval(round(mean * count), count)
        half = max(half or 0.0, mean - low, high - mean)
    return mean, half


def seeds_used(runs: Sequence[Figures]) -> int:
    """How many of the runs a cell is over."""
    return len(runs) if len(runs) >= FEWEST_SEEDS else 1


def cell(runs: Sequence[Figures], column: str) -> str:
    """`mean ± half width`, shares in percent."""
    mean, half = interval(runs, column)
    share = column in SHARES
    digits = 0 if share else 1 if column.endswith("dB") else 2
    factor = 100 if share else 1
    unit = " %" if share else ""
    text = f"{mean * factor:.{digits}f}"
    return text + unit if half is None else f"{text} ± {half * factor:.{digits}f}{unit}"


def table(rows: dict[str, Sequence[Figures]], columns: Sequence[str] = COLUMNS) -> str:
    """A row per entry, with the number of seeds that its cells are over."""
    lines = ["| | seeds | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name, runs in rows.items():
        cells = " | ".join(cell(runs, column) for column in columns)
        lines.append(f"| {name} | {seeds_used(runs)} | {cells} |")
    return "\n".join(lines) + "\n"


def confusion(runs: Sequence[Figures]) -> str:
    """Prompt against what was seen, in percent of the clips of all runs."""
    motions = ("left", "right", "up", "down", "grow", "shrink")
    lines = ["| prompted | " + " | ".join((*motions, "none")) + " |", "|---" * 8 + "|"]
    for prompted in motions:
        counts = [
            sum(r["seen"].get(prompted, {}).get(m, 0) for r in runs) for m in (*motions, "none")
        ]
        total = max(1, sum(counts))
        lines.append(
            f"| {prompted} | " + " | ".join(f"{100 * c / total:.0f} %" for c in counts) + " |"
        )
    return "\n".join(lines) + "\n"


def grid(trials: dict[str, list[Figures]], column: str) -> str:
    """Text scale down, image scale across."""
    lines = ["| text \\ image | " + " | ".join(f"{g:g}" for g in GRID) + " |"]
    lines.append("|---" * (len(GRID) + 1) + "|")
    for text in GRID:
        runs = [trials[f"cfg {text:g}, image cfg {image:g}"] for image in GRID]
        cells = [cell(r[:1], column).split(" ±")[0] for r in runs]
        unit = " %" if column in SHARES else ""
        lines.append(
            f"| {text:g} | " + " | ".join(c.removesuffix(unit) + unit for c in cells) + " |"
        )
    return "\n".join(lines) + "\n"


def report(results: dict[str, Any]) -> str:
    """Every table whose figures are there."""
    found = results["figures"]
    parts = []
    rows = {name: found[name][""] for name in (*REFERENCES, *ARMS) if name in found}
    parts.append("### Arms\n\n" + table(rows))
    sampled = found.get(FULL, {})
    trials = {name: sampled[name] for name in ("", *lambda_trials()) if name in sampled}
    parts.append(
        "### Lambda at inference\n\n" + table({n or "as trained": r for n, r in trials.items()})
    )
    words = {name: sampled[name] for name in ("", "opposite words", "no words") if name in sampled}
    parts.append("### Words\n\n" + table({n or "own words": r for n, r in words.items()}))
    prompted = [run for name in ("", "opposite words") for run in sampled.get(name, [])]
    parts.append("### Prompted and seen\n\n" + confusion(prompted))
    if all(f"cfg {a:g}, image cfg {b:g}" in sampled for a in GRID for b in GRID):
        for column in ("as prompted", "first frame, dB", "all frames, dB", "colour kept"):
            parts.append(f"### Guidance: {column}\n\n" + grid(sampled, column))
    return "\n".join(parts)


def insert(document: str, tables: str) -> str:
    """The document with `tables` between its marks. Raises ValueError where it lacks them."""
    if BEGIN not in document or END not in document:
        raise ValueError(f"The document has no {BEGIN} and {END}; add these two lines.")
    before, rest = document.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{tables}\n{END}{rest.split(END, 1)[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--document", type=Path, required=True)
    arguments = parser.parse_args()
    tables = report(json.loads(arguments.results.read_text(encoding="utf-8")))
    document = insert(arguments.document.read_text(encoding="utf-8"), tables)
    arguments.document.write_text(document, encoding="utf-8")


if __name__ == "__main__":
    main()
