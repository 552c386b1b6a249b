"""The small world as a training set."""

from dataclasses import dataclass

import numpy as np
import torch

from training.data.clip import Clip

from .render import render_clip
from .scenes import Scene, Split, make_scene


def clip_of(frames: np.ndarray, scene: Scene, key: str) -> Clip:
    """A rendered scene, `[T, 3, H, W]` in [0, 1], captioned."""
    return Clip(
        key=key,
        frames=torch.from_numpy(frames) * 2 - 1,
        caption=scene.caption,
        motion_caption=scene.motion_caption,
        fps=float(scene.fps),
        frame_stride=1,
    )


@dataclass(frozen=True)
class SmallWorld:
    """The first `pool` scenes of a seed; with a larger pool the same scenes and more."""

    pool: int
    seed: int = 0
    split: Split = "train"
    num_frames: int = 16

    @property
    def skipped(self) -> int:
        return 0

    def __len__(self) -> int:
        return self.pool

    def load(self, index: int, draw: int) -> Clip:
        """The clip number `index`; nothing is drawn."""
        del draw
        key = f"{self.split} {self.seed} {index}"
        scene = make_scene(self.seed, index, self.split)
        return clip_of(render_clip(scene, self.num_frames), scene, key)
