"""Measures what moved in a clip: where the object is, how large, and of what colour.

It stands beside the judge's tracker, which knows the first picture alone, because the figures in
docs/questions.json are its; this one knows the scene's background and colour.
"""

from dataclasses import dataclass

import numpy as np

from ..world.render import background
from ..world.scenes import COLOURS, Scene

MOVED = 4.0  # pixels
RESIZED = 0.25  # log area


@dataclass(frozen=True, slots=True)
class Track:
    """Per frame: centre in pixels `[T]`, area in pixels `[T]`, mean RGB inside `[T, 3]`."""

    x: np.ndarray
    y: np.ndarray
    area: np.ndarray
    colour: np.ndarray


def soft_mask(frames: np.ndarray, scene: Scene) -> np.ndarray:
    """How much of each pixel is the object's colour rather than background: `[T, H, W]`, 0 to 1.

    frames: `[T, 3, H, W]` in [0, 1]. The projection of (frame - background) on the way from
    background to colour; low values count as 0.
    """
    ground = background(scene, frames.shape[-1])
    way = np.asarray(COLOURS[scene.colour], dtype=np.float32)[:, None, None] - ground
    along = ((frames - ground) * way).sum(axis=1) / (way**2).sum(axis=0)
    return np.where(along > 0.35, np.clip(along, 0, 1), 0)


def track(frames: np.ndarray, scene: Scene) -> Track:
    """Follow the scene's object. Frames without it have a NaN centre and colour."""
    mask = soft_mask(frames, scene)
    axis = np.arange(frames.shape[-1]) + 0.5
    area = mask.sum(axis=(1, 2))
    weight = np.where(area > 4, area, np.nan)
    x = (mask.sum(axis=1) * axis).sum(axis=1) / weight
    y = (mask.sum(axis=2) * axis).sum(axis=1) / weight
    core = np.where(mask > 0.8, mask, 0)
    total = core.sum(axis=(1, 2))
    inside = (frames * core[:, None]).sum(axis=(2, 3)) / np.where(total > 2, total, np.nan)[:, None]
    return Track(x, y, area, inside)


def motion_of(found: Track) -> str:
    """The motion class of a track, or "none".

    The larger displacement axis decides if it is over 4 px, else the change of area if it is over
    0.25 in the logarithm; else nothing happened.
    """
    seen = np.flatnonzero(~np.isnan(found.x))
    if len(seen) < 2:
        return "none"
    first, last = seen[0], seen[-1]
    dx, dy = found.x[last] - found.x[first], found.y[last] - found.y[first]
    if max(abs(dx), abs(dy)) > MOVED:
        if abs(dx) >= abs(dy):
            return "right" if dx > 0 else "left"
        return "down" if dy > 0 else "up"
    growth = float(np.log(found.area[last] / found.area[first]))
    if abs(growth) > RESIZED:
        return "grow" if growth > 0 else "shrink"
    return "none"


def nearest_colour(rgb: np.ndarray) -> str:
    """The name of the nearest colour of the world, "none" for NaN."""
    if np.isnan(rgb).any():
        return "none"
    return min(COLOURS, key=lambda name: float(np.sum((np.asarray(COLOURS[name]) - rgb) ** 2)))
