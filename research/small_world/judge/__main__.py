"""Judges a demo checkpoint through the real ComfyUI server.

`python -m research.small_world.judge --checkpoint demo.safetensors --clips 200 --output runs/judge`

Started again with the same folder it continues; with more clips it makes only what is missing. A
second process with `--backwards` on the same folder halves the time where there are cores for both.
`--report FILE.md` writes the table, into a page's marked place if it has one.
"""

import argparse
import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import report
from .ceiling import load_vae, measure_ceilings
from .counts import Counts
from .figures import figures
from .long_videos import long_videos
from .measures import measure
from .pairs import LONG, SCENES, ends, prompted
from .server import SETTINGS, Host, find_host, load_clip, make_videos, version_of
from .shapes import load_classifier

log = logging.getLogger(__name__)


def judge(
    checkpoint: Path,
    folder: Path,
    counts: Counts,
    host: Host,
    *,
    steps: int,
    ceiling_clips: int,
    backwards: bool = False,
) -> dict[str, Any]:
    """Makes the videos, measures them and writes `folder/results.json`; returns what it holds.

    Raises ValueError when the folder's videos are another checkpoint's or were made otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = {
        "checkpoint": checkpoint.name,
        "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "comfyui": version_of(host),
        "settings": {**SETTINGS, "steps": steps, "seed": "the pair's number"},
        "scenes": SCENES,
    }
    _claim(folder, run)
    jobs = list(counts.jobs())
    make_videos(jobs[::-1] if backwards else jobs, checkpoint, folder, host, steps)
    log.info("Measuring %d videos ...", len(jobs))
    classifier = load_classifier()
    records = [measure(job, *load_clip(folder, job), classifier) for job in jobs]
    perfect = [
        *prompted(min(counts.prompted, ceiling_clips)),
        *ends("loop", min(counts.ends, ceiling_clips)),
        *(
            job
            for workflow in LONG
            for job in long_videos(workflow, min(counts.long, ceiling_clips))
        ),
    ]
    ceilings = measure_ceilings(perfect, load_vae(checkpoint), classifier)
    results = {
        **run,
        "counts": asdict(counts),
        "ceiling_clips": len(perfect),
        "figures": [figure.to_json() for figure in figures(records)],
        "ceilings": {
            name: [figure.to_json() for figure in figures(found)]
            for name, found in ceilings.items()
        },
        "clips": records,
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    return results


def _claim(folder: Path, run: dict[str, Any]) -> None:
    """Marks the folder as this run's; raises ValueError when it is another's."""
    mark = folder / "run.json"
    if not mark.exists():
        mark.write_text(json.dumps(run, indent=1), encoding="utf-8")
    found = json.loads(mark.read_text(encoding="utf-8"))
    for key, value in run.items():
        if found.get(key) != value:
            raise ValueError(
                f"{folder} holds videos of {key} {found.get(key)}, not {value}; give another "
                "folder, or delete this one."
            )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True)
    add("--output", type=Path, required=True, metavar="DIR", help="videos and results.json")
    add("--clips", type=int, default=200, help="held-out pairs of picture and prompt")
    add("--flips", type=int, help="of them again with the opposite word; else 3 in 10")
    add("--ends", type=int, help="interpolations, and as many loops; else 1 in 10")
    add("--long", type=int, default=0, help="videos of 40 frames by Extend, and by a storyboard")
    add("--ceiling", type=int, default=60, help="true clips measured for comparison")
    add("--steps", type=int, default=SETTINGS["steps"])
    add("--backwards", action="store_true", help="make the last videos first")
    add("--report", type=Path, metavar="FILE", help="write the table here as Markdown")
    add("--comfyui", type=Path, metavar="DIR", help="the ComfyUI to use")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    counts = Counts(
        prompted=options.clips,
        reversed=options.clips * 3 // 10 if options.flips is None else options.flips,
        ends=options.clips // 10 if options.ends is None else options.ends,
        long=options.long,
    )
    host = find_host(options.comfyui)
    results = judge(
        options.checkpoint,
        options.output,
        counts,
        host,
        steps=options.steps,
        ceiling_clips=options.ceiling,
        backwards=options.backwards,
    )
    text = report.table(results)
    log.info("%s", text)
    if options.report:
        report.write(options.report, text)


if __name__ == "__main__":
    main()
