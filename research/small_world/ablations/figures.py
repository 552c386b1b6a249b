"""What sampled clips show: motion as told, the picture kept, distances to true clips.

Motion, size and colour are the tracker's, which knows the scene's background; what is "read" is
the extractor's, which knows nothing and also judges clips whose background is another.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dc_model.metrics.features import extract
from dc_model.metrics.fvd import frechet_distance, kernel_distance

from ..judge.measures import psnr
from ..train.extractor import SmallExtractor
from ..world.render import render_clip
from ..world.scenes import DIRECTIONS, KINDS, MOTIONS, NUM_FRAMES, Scene
from .tracker import Track, motion_of, nearest_colour, track
from .trials import Trial

# Every figure: {"mean": of the clips, "error": standard error over them, absent for distances}.
Figures = dict[str, Any]


def figures(
    videos: np.ndarray, scenes: list[Scene], trial: Trial, extractor: SmallExtractor
) -> Figures:
    """All figures of one trial. videos: `[N, T, 3, H, W]` uint8, of `scenes` in order.

    FVD and KVD are against the true clips of the same scenes, as the paper's are.
    """
    columns: dict[str, list[float]] = {}
    seen: dict[str, dict[str, int]] = {}
    told_scenes = [trial.told(scene) for scene in scenes]
    true = np.stack([render_clip(told)[: videos.shape[1]] for told in told_scenes])
    clips = videos.astype(np.float32) / 255
    for clip, truth, told in zip(clips, true, told_scenes, strict=True):
        found = track(clip, told)
        motion = motion_of(found)
        row = seen.setdefault(told.motion, {})
        row[motion] = row.get(motion, 0) + 1
        for name, value in _of_clip(clip, truth, found, motion, told).items():
            columns.setdefault(name, []).append(value)
    # Shorter clips are slowed down to the length that the extractor knows.
    slow = NUM_FRAMES // videos.shape[1]
    real, made = (
        extract(extractor, torch.from_numpy(np.repeat(v, slow, axis=1))) for v in (true, clips)
    )
    for name, read in read_attributes(extractor, made).items():
        told_names = [getattr(told, name) for told in told_scenes]
        columns[f"{name} read as told"] = [
            float(a == b) for a, b in zip(read, told_names, strict=True)
        ]
    out: Figures = {name: _summary(values) for name, values in columns.items()}
    out["FVD"] = {"mean": round(frechet_distance(real, made), 3)}
    # The sets are paired, which the unbiased estimate does not know: for the true clips themselves
    # it is far below zero.
    above = kernel_distance(real, made) - kernel_distance(real, real)
    out["KVD"] = {"mean": round(above, 3)}
    out["seen"] = seen
    return out


@torch.no_grad()
def read_attributes(extractor: SmallExtractor, features: Tensor) -> dict[str, list[str]]:
    """What the extractor's heads make of its features `[N, 64]`."""
    heads = {"kind": (extractor.kind, KINDS), "motion": (extractor.motion, MOTIONS)}
    return {
        name: [classes[i] for i in head(features.float()).argmax(dim=1).tolist()]
        for name, (head, classes) in heads.items()
    }


def _of_clip(
    clip: np.ndarray, true: np.ndarray, found: Track, motion: str, told: Scene
) -> dict[str, float]:
    kind = "direction" if told.motion in DIRECTIONS else "size"
    as_told = float(motion == told.motion)
    names = [nearest_colour(colour) for colour in found.colour]
    return {
        "as told": as_told,
        f"{kind} as told": as_told,
        f"{kind}, made / told": made_of_told(found, told),
        "first frame, dB": psnr(clip[0], true[0]),
        "all frames, dB": float(np.mean([psnr(a, b) for a, b in zip(clip, true, strict=True)])),
        "colour kept": float(np.mean([name == told.colour for name in names])),
    }


def made_of_told(found: Track, told: Scene) -> float:
    """Displacement along the told direction, or log growth, over what was told; 0 if unseen."""
    seen = np.flatnonzero(~np.isnan(found.x))
    if len(seen) < 2:
        return 0.0
    first, last = seen[0], seen[-1]
    share = (len(found.x) - 1) / (NUM_FRAMES - 1)
    if told.motion not in DIRECTIONS:
        grown = np.log(found.area[last] / found.area[first])
        return float(grown / (2 * share * np.log(told.ratio)))
    moved = np.array([found.x[last] - found.x[first], found.y[last] - found.y[first]])
    way = np.array(told.displacement) * share
    return float(moved @ way / (way @ way))


def _summary(values: list[float]) -> dict[str, float]:
    array = np.asarray(values)
    error = float(array.std(ddof=1) / len(array) ** 0.5) if len(array) > 1 else 0.0
    return {"mean": round(float(array.mean()), 4), "error": round(error, 4), "n": len(array)}
