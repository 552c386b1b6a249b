"""Measures motion that is shown: the figures of docs/motion.md#measured.

`python -m research.small_world.directed drag --tokenizer ComfyUI/comfy/sd1_tokenizer`
`python -m research.small_world.directed dial --chart docs/images/motion_dial.png`

`drag`, `camera` and `hold` run in plain PyTorch, `dial` on the real ComfyUI server. To choose
clocks take other scenes than those that are reported: `--first 1000`.
"""

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dc_model.motion.clocks import Clocks
from dc_model.pipeline import Pipeline, load

from ..intervals import mean_interval, share_interval
from ..judge.server import find_host
from . import camera, dial, drag, hold
from .scenes import Figures

log = logging.getLogger(__name__)

CHECKPOINT = Path(__file__).parents[3] / "assets" / "demo" / "small_world.safetensors"
JUDGES: dict[str, tuple[Callable[[Pipeline, Clocks, int, int], Figures], int, tuple[int, int]]] = {
    "drag": (drag.judge, 100, (120, 120)),
    "camera": (camera.judge, 60, (200, 60)),
    "hold": (hold.judge, 20, (1000, 1000)),
}
YES_OR_NO = "within"  # In the name of a figure whose values are 0 and 1.


def report(found: Figures) -> str:
    """A line for each figure: mean and interval; Wilson's for what is yes or no."""
    lines = []
    for name, values in found.items():
        seen = [value for value in values if np.isfinite(value)]
        if YES_OR_NO in name:
            low, high = share_interval(int(sum(seen)), len(seen))
        else:
            low, high = mean_interval(seen)
        lines.append(f"{name}: {np.mean(seen):.3f} ({low:.3f} to {high:.3f}, n = {len(seen)})")
    return "\n".join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("what", choices=[*JUDGES, "dial"])
    add("--tokenizer", type=Path, metavar="DIR", help="CLIP's, for all but dial")
    add("--comfyui", type=Path, metavar="DIR", help="the ComfyUI to use, for dial")
    add("--checkpoint", type=Path, default=CHECKPOINT)
    add("--scenes", type=int, help="how many")
    add("--first", type=int, default=0, help="the number of the first scene")
    add("--clocks", nargs=2, type=int, metavar=("WEAK", "STRONG"), help="for drag and camera")
    add("--output", type=Path, metavar="FILE.json", help="all values")
    add("--chart", type=Path, metavar="FILE.png", help="the dial's curves")
    options = parser.parse_args(arguments)
    if options.what != "dial" and options.tokenizer is None:
        parser.error(f"{options.what} needs --tokenizer")
    return options


def main() -> None:
    options = parse()
    if options.what == "dial":
        host = find_host(options.comfyui)
        found = dial.judge(options.checkpoint, host, options.scenes or 20, options.first)
    else:
        judge, count, clocks = JUDGES[options.what]
        pipeline = load(options.checkpoint, tokenizer=options.tokenizer)
        clocks = Clocks(*(options.clocks or clocks))
        found = judge(pipeline, clocks, options.scenes or count, options.first)
    log.info("%s", report(found))
    if options.output:
        options.output.write_text(json.dumps(found), encoding="utf-8")
    if options.chart:
        from .chart import DOTS_PER_INCH, chart  # Matplotlib may be missing.

        chart(found).savefig(options.chart, dpi=DOTS_PER_INCH)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
