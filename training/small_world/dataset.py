"""The small world as a training set."""

from dataclasses import dataclass

import torch

from ..data.clip import Clip
from .render import render_clip
from .scenes import Scene, Split, make_scene


def clip_of(scene: Scene, key: str, num_frames: int = 16) -> Clip:
    """A scene rendered and captioned."""
    frames = torch.from_numpy(render_clip(scene, num_frames)) * 2 - 1
    return Clip(
        key=key,
        frames=frames,
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

    def __len__(self) -> int:
        return self.pool

    def load(self, index: int, draw: int) -> Clip:
        """The clip number `index`; nothing is drawn."""
        del draw
        scene = make_scene(self.seed, index, self.split)
        return clip_of(scene, f"{self.split} {self.seed} {index}", self.num_frames)
