"""The figures as a picture, by Matplotlib."""

from pathlib import Path
from typing import Any

NEEDS_MATPLOTLIB = (
    "The chart needs Matplotlib, which is not installed; run `pip install matplotlib` or leave "
    "--chart away."
)


class NoChartError(Exception):
    """Matplotlib is missing."""


def require_matplotlib() -> Any:
    """Its `Figure`. Raises NoChartError, which says what to do."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoChartError(NEEDS_MATPLOTLIB) from error
    return Figure


def draw(found: dict[str, Any], path: Path) -> None:
    """Ours beside the plain one, and growth. Raises NoChartError."""
    figure = require_matplotlib()(figsize=(10, 4), layout="constrained")
    bars, lines = figure.subplots(1, 2)
    figure.suptitle(f"{found['device']}, {found['dtype']}", fontsize=10)
    _bars(bars, found["sizes"])
    _growth(lines, found["sizes"])
    figure.savefig(path, dpi=120)


def _bars(axes: Any, sizes: list[dict[str, Any]]) -> None:
    for shift, who in ((-0.2, "ours"), (0.2, "plain")):
        steps = [(i + shift, size.get("step", {}).get(who)) for i, size in enumerate(sizes)]
        places = [place for place, row in steps if row]
        rows = [row for _, row in steps if row]
        seconds = [row["seconds"] for row in rows]
        low = [row["seconds"] - min(row["repeats"]) for row in rows]
        high = [max(row["repeats"]) - row["seconds"] for row in rows]
        axes.bar(places, seconds, 0.4, yerr=[low, high], capsize=4, label=who)
    axes.set_xticks(range(len(sizes)), [s["size"] for s in sizes])
    axes.set_ylabel("seconds a step")
    axes.legend()


def _growth(axes: Any, sizes: list[dict[str, Any]]) -> None:
    for size in sizes:
        for what, rows in size.get("growth", {}).items():
            amounts = [_amount(row["value"]) for row in rows]
            axes.plot(
                [amount / amounts[0] for amount in amounts],
                [row["seconds"] / rows[0]["seconds"] for row in rows],
                marker="o",
                label=f"{size['size']}: {what}",
            )
    axes.set_xlabel("times as much")
    axes.set_ylabel("times as long")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.axline((1, 1), (2, 2), color="0.7", linewidth=1)
    axes.legend(fontsize=8)


def _amount(value: Any) -> float:
    return value[0] * value[1] if isinstance(value, (list, tuple)) else value
