"""The report's charts as SVG text. The same figures give the same bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

# Tells eight lines apart, also with red-green blindness (Okabe and Ito 2008).
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#8c6d1f",
)
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "evaluation",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
}


def fvd_by_clips(systems: Sequence[Mapping[str, Any]]) -> str:
    """FVD over 1 / clips, each with its line to endless clips at the left."""
    import numpy as np

    axes, finish = _canvas(7.2, 3.6)
    for number, system in enumerate(systems):
        if not system["curve"]:
            continue
        sizes, means = (np.array(part) for part in system["curve"])
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(1 / sizes, means, "o", color=colour, markersize=4, label=system["name"])
        slope = (means[-1] - system["endless"]) * sizes[-1]
        ends = np.array([0, 1 / sizes[0]])
        axes.plot(ends, system["endless"] + slope * ends, color=colour, linewidth=1)
    ticks = sorted({n for system in systems if system["curve"] for n in system["curve"][0]})
    axes.set_xticks([0, *(1 / n for n in ticks)], ["∞", *map(str, ticks)])
    axes.set_xlabel("clips")
    axes.set_ylabel("FVD")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return finish()


def intervals(systems: Sequence[Mapping[str, Any]], key: str, title: str) -> str:
    """One figure of every system with its interval, the first at the top."""
    axes, finish = _canvas(3.6, 0.32 * len(systems) + 0.9)
    shown = [system for system in systems if key in system["figures"]]
    for place, system in enumerate(reversed(shown)):
        figure = system["figures"][key]
        colour = COLOURS[systems.index(system) % len(COLOURS)]
        if figure["low"] is not None:
            axes.plot([figure["low"], figure["high"]], [place, place], color=colour, linewidth=2)
        axes.plot([figure["value"]], [place], "o", color=colour, markersize=5)
    axes.set_yticks(range(len(shown)), [system["name"] for system in reversed(shown)])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_title(title, fontsize=9)
    return finish()


def _canvas(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib
    from matplotlib.figure import Figure

    # Figure without pyplot: no window, no global state.
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height))
        axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.tick_params(labelsize=8)

    def finish() -> str:
        out = io.StringIO()
        metadata = {"Date": None, "Creator": None}
        with matplotlib.rc_context(_SETTINGS):
            figure.savefig(out, format="svg", bbox_inches="tight", metadata=metadata)
        text = out.getvalue()
        return text[text.index("<svg") :]

    return axes, finish
