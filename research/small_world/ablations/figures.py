"""What sampled clips show: motion as prompted, the picture kept, distances to true clips.

Motion, size and colour are those of the judge's tracker, which knows the first frame; what is
"read" is the extractor's, which knows nothing and also judges clips whose background is another.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dc_model.metrics.features import extract
from dc_model.metrics.fvd import frechet_distance, kernel_distance

from ..judge.measures import nearest_colour, psnr
from ..judge.tracker import RESIZED, Trail, change, follow, motion_of
from ..train.extractor import SmallExtractor
from ..world.render import render_clip
from ..world.scenes import DIRECTIONS, MOTIONS, NUM_FRAMES, SHAPES, Scene
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
    prompted_scenes = [trial.prompted(scene) for scene in scenes]
    true = np.stack([render_clip(prompted)[: videos.shape[1]] for prompted in prompted_scenes])
    clips = videos.astype(np.float32) / 255
    for clip, truth, prompted in zip(clips, true, prompted_scenes, strict=True):
        found = _follow(clip, truth)
        motion = motion_of(found, RESIZED * len(clip) / NUM_FRAMES)
        row = seen.setdefault(prompted.motion, {})
        row[motion] = row.get(motion, 0) + 1
        for name, value in _of_clip(clip, truth, found, motion, prompted).items():
            columns.setdefault(name, []).append(value)
    # Shorter clips are slowed down to the length that the extractor knows.
    slow = NUM_FRAMES // videos.shape[1]
    real, made = (
        extract(extractor, torch.from_numpy(np.repeat(v, slow, axis=1))) for v in (true, clips)
    )
    for name, read in read_attributes(extractor, made).items():
        prompted_names = [getattr(prompted, name) for prompted in prompted_scenes]
        columns[f"{name} read as prompted"] = [
            float(a == b) for a, b in zip(read, prompted_names, strict=True)
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
    heads = {"shape": (extractor.kind, SHAPES), "motion": (extractor.motion, MOTIONS)}
    return {
        name: [classes[i] for i in head(features.float()).argmax(dim=1).tolist()]
        for name, (head, classes) in heads.items()
    }


def _follow(clip: np.ndarray, true: np.ndarray) -> Trail:
    """The object of the true clip's first frame through a clip, both `[T, 3, H, W]` in [0, 1]."""
    return follow(clip.transpose(0, 2, 3, 1), true[0].transpose(1, 2, 0))


def _of_clip(
    clip: np.ndarray, true: np.ndarray, found: Trail, motion: str, prompted: Scene
) -> dict[str, float]:
    sort = "direction" if prompted.motion in DIRECTIONS else "size"
    as_prompted = float(motion == prompted.motion)
    names = [nearest_colour(colour) for colour in found.colour]
    return {
        "as prompted": as_prompted,
        f"{sort} as prompted": as_prompted,
        f"{sort}, made / prompted": share_made(found, prompted),
        "first frame, dB": psnr(clip[0], true[0]),
        "all frames, dB": float(np.mean([psnr(a, b) for a, b in zip(clip, true, strict=True)])),
        "colour kept": float(np.mean([name == prompted.colour for name in names])),
    }


def share_made(found: Trail, prompted: Scene) -> float:
    """Displacement along the prompted direction, or log growth, over the prompted; 0 if unseen."""
    seen = found.seen
    if len(seen) < 4:
        return 0.0
    if prompted.motion not in DIRECTIONS:
        grown = np.log(found.area[seen[-1]] / found.area[seen[0]])
        share = (len(found.area) - 1) / (NUM_FRAMES - 1)
        return float(grown / (2 * share * np.log(prompted.ratio)))
    moved = np.array(change(found)[:2])
    # `change` looks from the first two to the last two frames.
    way = np.array(prompted.displacement) * (len(found.area) - 2) / (NUM_FRAMES - 1)
    made = float(moved @ way / (way @ way))
    return made if np.isfinite(made) else 0.0


def _summary(values: list[float]) -> dict[str, float]:
    array = np.asarray(values)
    error = float(array.std(ddof=1) / len(array) ** 0.5) if len(array) > 1 else 0.0
    return {"mean": round(float(array.mean()), 4), "error": round(error, 4), "n": len(array)}
