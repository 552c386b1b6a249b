"""Held-out scenes as references to follow, and the videos that the demo model makes of them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dc_model import vdg
from dc_model.motion.clocks import Clocks, Reference, release_timesteps
from dc_model.pipeline import Pipeline, Settings

from ..world.render import render_frame
from ..world.scenes import NUM_FRAMES, Scene

STEPS, CFG, FPS = 25, 2.0, 8
BATCH = 5

Figures = dict[str, list[float]]


def note(found: Figures, **values: float) -> None:
    """Adds one value to each list."""
    for name, value in values.items():
        found.setdefault(name, []).append(float(value))


def batches(count: int) -> Iterator[slice]:
    return (slice(first, min(first + BATCH, count)) for first in range(0, count, BATCH))


def picture_of(scene: Scene) -> np.ndarray:
    """`[H, W, 3]` in [0, 1]."""
    return render_frame(scene, 0.0).transpose(1, 2, 0)


def reference_of(
    pipeline: Pipeline, video: Tensor, masks: Tensor, clocks: Clocks, free: Tensor | None = None
) -> Reference:
    """A rough video `[T, 3, H, W]` in [0, 1] and its masks `[T, H, W]`, to be followed.

    free: where it may change, `[T, H, W]`.
    """
    latents = pipeline.encode(video * 2 - 1).transpose(0, 1)[None]  # [1, 4, T, h, w]

    def small(given: Tensor) -> Tensor:
        area = F.interpolate(given[:, None], latents.shape[-2:], mode="area")
        return area.transpose(0, 1)[None]

    may_move = None if free is None else small(free)
    return Reference(latents, release_timesteps(clocks, small(masks), may_move))


def make_videos(
    pipeline: Pipeline,
    scenes: Sequence[Scene],
    references: Sequence[Reference],
    seed: int,
    fps: int = FPS,
) -> np.ndarray:
    """Videos `[B, T, H, W, 3]` in [0, 1] of one batch, by the demo's settings."""
    pictures = torch.from_numpy(np.stack([render_frame(s, 0.0) for s in scenes])) * 2 - 1
    joined = None
    if references:
        parts = zip(*((r.latents, r.release) for r in references), strict=True)
        joined = Reference(*(torch.cat(part) for part in parts))
    found = pipeline.sample(
        vdg.animate(pipeline.encode(pictures), NUM_FRAMES),
        [scene.caption for scene in scenes],
        pictures,
        Settings(steps=STEPS, cfg=CFG, speed=fps),
        generator=torch.Generator().manual_seed(seed),
        reference=joined,
    )
    return decoded(pipeline, found)


def decoded(pipeline: Pipeline, latents: Tensor) -> np.ndarray:
    """Videos `[B, T, H, W, 3]` in [0, 1] of latents `[B, 4, T, h, w]`."""
    return ((pipeline.decode(latents) + 1) / 2).permute(0, 2, 3, 4, 1).numpy()
