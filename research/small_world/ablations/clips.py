"""The clips that the base and the arms learn from, and the scenes that they are measured on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from training.data.clip import Clip

from ..world.dataset import clip_of
from ..world.render import render_clip
from ..world.scenes import DIRECTIONS, Scene, Split, central, make_scene

# At more frames per second the object goes less far in a clip.
FASTEST = 16
TRAINED = 0


def slow_scenes(seed: int, split: Split) -> Iterator[Scene]:
    """Scenes of at most 16 frames per second: 27 to 34 pixels of way."""
    index = 0
    while True:
        scene = make_scene(seed, index, split)
        index += 1
        if scene.fps <= FASTEST:
            yield scene


def measured_scenes(count: int, seed: int) -> list[Scene]:
    """Held-out scenes with the object near the middle, the four directions in turn.

    The first `count` of `seed`; another seed gives other scenes.
    """
    waiting: dict[str, list[Scene]] = {motion: [] for motion in DIRECTIONS}
    chosen: list[Scene] = []
    scenes = (s for s in slow_scenes(seed, "held_out") if s.motion in DIRECTIONS)
    while len(chosen) < count:
        row = waiting[list(DIRECTIONS)[len(chosen) % len(DIRECTIONS)]]
        while not row:
            scene = next(scenes)
            waiting[scene.motion].append(central(scene))
        chosen.append(row.pop(0))
    return chosen


@dataclass(frozen=True)
class Clips:
    """The first `pool` training scenes; `num_frames` frames span the whole motion."""

    pool: int
    num_frames: int
    scenes: list[Scene] = field(init=False)

    def __post_init__(self) -> None:
        scenes = list(islice(slow_scenes(TRAINED, "train"), self.pool))
        object.__setattr__(self, "scenes", scenes)

    @property
    def skipped(self) -> int:
        return 0

    def __len__(self) -> int:
        return self.pool

    def load(self, index: int, draw: int) -> Clip:
        """The clip number `index`; nothing is drawn."""
        del draw
        scene = self.scenes[index]
        return clip_of(render_clip(scene, self.num_frames), scene, str(index))
