"""Videos of fewer steps beside those of 50: errors, time and the judge's answers."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..intervals import share_interval
from ..judge import report
from ..judge.figures import STRAY
from ..judge.measures import Record, measure, psnr
from ..judge.pairs import Job, prompted
from ..judge.shapes import load_classifier
from .settings import REFERENCE, Setting

BEGIN, END = "<!-- figures of the steps -->", "<!-- end of the steps -->"

# A judge's share of fewer scenes says nothing.
MIN_SCENES = 10
QUESTIONS = {
    "moves": "moves as prompted",
    "colour": "colour kept",
    "shape": "shape kept",
    "clean": "nothing else",
}

Clip = dict[str, np.ndarray]
Row = dict[str, Any]


def clip_file(folder: Path, setting: Setting, job: Job) -> Path:
    """Where a scene's video of a setting is kept."""
    return folder / setting.file_name / f"{job.name}.npz"


def load_clips(folder: Path, setting: Setting) -> dict[str, Clip]:
    """All that is there of a setting, by scene."""
    found = {}
    for path in sorted((folder / setting.file_name).glob("*.npz")):
        with np.load(path) as arrays:
            found[path.stem] = dict(arrays)
    return found


def rows(folder: Path, settings: Iterable[Setting]) -> list[Row]:
    """A row for each setting that has videos."""
    exact = load_clips(folder, REFERENCE)
    jobs = {job.name: job for job in prompted(max(len(exact), 1))}
    classifier = load_classifier()
    found = []
    for setting in settings:
        clips = {n: c for n, c in load_clips(folder, setting).items() if n in exact}
        if not clips:
            continue
        records = [
            measure(jobs[n], c["video"] / 255, np.stack(jobs[n].pictures) / 255, classifier)
            for n, c in clips.items()
        ]
        found.append(
            {
                "setting": setting.name,
                "steps": setting.steps,
                "scenes": len(clips),
                "passes": float(np.mean([c["passes"] for c in clips.values()])),
                "seconds": _median(
                    float(c["seconds"] / exact[n]["seconds"]) for n, c in clips.items()
                ),
                **(_errors(clips, exact) if setting.eta == 0 and setting != REFERENCE else {}),
                **_shares(records),
            }
        )
    return found


def _errors(clips: dict[str, Clip], exact: dict[str, Clip]) -> Row:
    """RMS of the latents' difference as a share of the latents' RMS; PSNR of the frames in dB."""
    pairs = [(clip, exact[name]) for name, clip in clips.items()]
    return {
        "latents": float(
            np.mean(
                [
                    np.linalg.norm(a["latent"] - b["latent"]) / np.linalg.norm(b["latent"])
                    for a, b in pairs
                ]
            )
        ),
        "frames": float(np.mean([psnr(a["video"] / 255, b["video"] / 255) for a, b in pairs])),
    }


def _shares(records: Sequence[Record]) -> Row:
    """Hits and how many were asked, by question."""
    asked = {
        "moves": [r["seen"] == r["prompted"] for r in records],
        "colour": [all(name == r["colour"] for name in r["colours"]) for r in records],
        "shape": [
            r["shapes"][place] == r["shape"]
            for r in records
            for place in ("middle", "last")
            if r["shapes"][place]
        ],
        "clean": [r["stray"] <= STRAY for r in records],
    }
    return {name: [sum(map(bool, hits)), len(hits)] for name, hits in asked.items()}


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def markdown(found: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    head = ["steps", "how", "passes", "time", "latents", "frames", "scenes", *QUESTIONS.values()]
    lines = [
        [
            str(row["steps"]),
            row["setting"],
            f"{row['passes']:.0f}",
            f"{row['seconds']:.2f}",
            f"{row['latents']:.3f}" if "latents" in row else "",
            f"{row['frames']:.1f} dB" if "frames" in row else "",
            str(row["scenes"]),
            *(_share(*row[name]) if row["scenes"] >= MIN_SCENES else "" for name in QUESTIONS),
        ]
        for row in found
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def _share(hits: int, count: int) -> str:
    low, high = share_interval(hits, count)
    return f"{100 * hits / count:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def write(path: Path, text: str) -> None:
    """Puts the table between a page's two marks, or makes it the whole file."""
    report.write(path, text, BEGIN, END)
