"""Shares and means with 95 % intervals over the measured videos, beside their goals."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..intervals import mean_interval, share_interval
from ..world.scenes import MOTIONS
from .long_videos import CLIP_ENDS, LONG_FRAMES
from .measures import Record
from .pairs import LONG

STRAY = 0.15  # Of the object's area; more beside it is something else that came up.
STEADY = 0.05  # Change of colour that counts as none; channels go from 0 to 1.
CLOSES = 2.0  # A closing step of at most this many usual ones counts as smooth.
MOVES = 4.0  # Pixels; a loop that stays within less stands still.


@dataclass(frozen=True, slots=True)
class Figure:
    """A share (unit "%", values in [0, 1]) or a mean, with its interval over `count` values.

    goal: what it should reach; `at_most` gives the direction.
    """

    name: str
    value: float
    low: float
    high: float
    count: int
    unit: str = "%"
    goal: float | None = None
    at_most: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether the value meets the goal; None without one."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal

    def to_json(self) -> dict[str, Any]:
        """Its fields and `reached`."""
        return {**asdict(self), "reached": self.reached}


def share(name: str, hits: Iterable[bool], goal: float | None = None) -> Figure | None:
    """A share with Wilson's score interval (1927); None without values."""
    values = list(hits)
    n = len(values)
    if not n:
        return None
    low, high = share_interval(sum(values), n)
    return Figure(name, sum(values) / n, low, high, n, goal=goal)


def mean(
    name: str, values: Iterable[float], unit: str, goal: float | None = None, at_most: bool = False
) -> Figure | None:
    """A mean with Student's interval; None without values."""
    given = np.array(list(values), dtype=np.float64)
    n = len(given)
    if not n:
        return None
    low, high = mean_interval(given)
    if unit == "%":
        low, high = max(0.0, low), min(1.0, high)
    return Figure(name, float(given.mean()), low, high, n, unit, goal, at_most)


def figures(records: Sequence[Record]) -> list[Figure]:
    """Every figure that the records allow, in the order of the report."""
    sorts = {
        sort: [r for r in records if r["name"].startswith(f"{sort}-")]
        for sort in ("prompted", "reversed", "interpolate", "loop", *LONG)
    }
    found = [
        *_motion(sorts["prompted"], sorts["reversed"]),
        *_first_frame(sorts["prompted"]),
        *_object(sorts["prompted"]),
        *_interpolation(sorts["interpolate"]),
        *_loop(sorts["loop"]),
        *_long("extended twice", sorts["extend"]),
        *_long("storyboard", sorts["storytelling"]),
    ]
    return [figure for figure in found if figure is not None]


def _motion(prompted: list[Record], opposed: list[Record]) -> list[Figure | None]:
    single = [
        share(
            f"moves as prompted: {motion}", [_obeys(r) for r in prompted if r["prompted"] == motion]
        )
        for motion in MOTIONS
    ]
    near = [_obeys(r) for r in prompted if r["near_middle"]]
    gone = [r["distance"] for r in prompted if r["distance"] is not None]
    return [
        share("moves as prompted", map(_obeys, prompted), 0.90),
        *single,
        share("moves as prompted, object near the middle", near),
        share("opposite word reverses the motion", map(_obeys, opposed), 0.85),
        mean("distance gone / prompted", gone, ""),
    ]


def _first_frame(prompted: list[Record]) -> list[Figure | None]:
    first = [r["first"] for r in prompted]
    box = [f["box_vae"] - f["box_psnr"] for f in first]
    return [
        mean("first frame, PSNR", [f["psnr"] for f in first], "dB"),
        mean("VAE alone, PSNR", [f["vae"] for f in first], "dB"),
        mean("first frame, below the VAE alone", map(_loss, first), "dB", 2.0, at_most=True),
        mean("the same around the object", box, "dB"),
    ]


def _object(prompted: list[Record]) -> list[Figure | None]:
    kept = [[name == r["colour"] for name in r["colours"]] for r in prompted]
    drift = [r["drift"] for r in prompted if r["drift"] is not None]
    outlines = [r["outline"] for r in prompted if r["outline"] is not None]
    shapes = [
        share(
            f"shape recognised, {place} frame",
            [r["shapes"][place] == r["shape"] for r in prompted if r["shapes"][place]],
            0.90,
        )
        for place in ("first", "middle", "last")
    ]
    return [
        # Frames of one clip are alike, so the clips are what is counted.
        mean("colour kept, share of a clip's frames", map(np.mean, filter(None, kept)), "%", 0.95),
        share("colour kept on every frame of the clip", map(all, kept)),
        mean("colour's drift over the clip", drift, "of 1"),
        share(f"drift of at most {STEADY}", [d <= STEADY for d in drift]),
        *shapes,
        mean("outline's overlap with the true shape (IoU)", outlines, "of 1", 0.90),
        mean("ground's distance to the picture's", [r["ground"] for r in prompted], "of 1"),
        share("nothing else comes up", [r["stray"] <= STRAY for r in prompted]),
    ]


def _interpolation(records: list[Record]) -> list[Figure | None]:
    return [
        mean(f"interpolation, {end} image, below the VAE alone", losses, "dB", 2.0, at_most=True)
        for end in ("first", "last")
        for losses in [[_loss(r[end]) for r in records]]
    ] + [share("interpolation moves as prompted", map(_obeys, records))]


def _loop(records: list[Record]) -> list[Figure | None]:
    ratios = [r["closing_step"] / max(r["median_step"], 1e-6) for r in records]
    first = [_loss(r["first"]) for r in records]
    return [
        mean("loop, first image, below the VAE alone", first, "dB", 2.0, at_most=True),
        mean("loop, last to first frame, PSNR", [r["last_to_first"] for r in records], "dB"),
        mean("loop, closing step / median step", ratios, ""),
        share(f"loop closes (at most {CLOSES:g} median steps)", [r <= CLOSES for r in ratios]),
        share(f"loop moves (over {MOVES:g} px)", [r["reach"] > MOVES for r in records]),
    ]


def _long(name: str, records: list[Record]) -> list[Figure | None]:
    name = f"{name} to {LONG_FRAMES} frames"
    kept = [float(np.mean([c == r["colour"] for c in r["colours"]])) for r in records]
    drift = [r["drift"] for r in records if r["drift"] is not None]
    return [
        mean(f"{name}: colour's drift", drift, "of 1", STEADY, at_most=True),
        mean(f"{name}: colour kept, share of a video's frames", kept, "%"),
        *(
            share(
                f"{name}: shape recognised, last frame of clip {clip + 1}",
                [r["lasts"][clip] == r["shape"] for r in records],
                0.90 if end == CLIP_ENDS[-1] else None,
            )
            for clip, end in enumerate(CLIP_ENDS)
        ),
    ]


def _obeys(record: Record) -> bool:
    return record["seen"] == record["prompted"]


def _loss(end: dict[str, float]) -> float:
    return end["vae"] - end["psnr"]
