"""The small world as a training set."""

from dataclasses import dataclass

import numpy as np
import torch

from training.data.clip import Clip

from .events import EventScene, make_event
from .render import render_clip
from .render_events import render_event
from .scenes import Scene, Split, make_scene


def clip_of(frames: np.ndarray, scene: Scene | EventScene, key: str) -> Clip:
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
    """The first `pool` scenes of a seed; with a larger pool the same scenes and more.

    second_tier: the share of clips that show the second tier's events.
    """

    pool: int
    seed: int = 0
    split: Split = "train"
    num_frames: int = 16
    second_tier: float = 0.0

    @property
    def skipped(self) -> int:
        return 0

    def __len__(self) -> int:
        return self.pool

    def load(self, index: int, draw: int) -> Clip:
        """The clip number `index`; nothing is drawn."""
        del draw
        key = f"{self.split} {self.seed} {index}"
        if self._shows_event(index):
            event = make_event(self.seed, index, self.split)
            return clip_of(render_event(event, self.num_frames), event, f"{key} event")
        scene = make_scene(self.seed, index, self.split)
        return clip_of(render_clip(scene, self.num_frames), scene, key)

    def _shows_event(self, index: int) -> bool:
        # Its own stream: the scenes themselves are the same whatever the share.
        draw = np.random.default_rng((self.seed, index, 3))
        return float(draw.random()) < self.second_tier
