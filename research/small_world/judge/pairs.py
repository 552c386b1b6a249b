"""The held-out pictures and prompts that a checkpoint is judged on, always the same ones."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..world.render import render_frame
from ..world.scenes import OPPOSITE, Scene, make_scene

SCENES = 2026  # The set of scenes; training draws from others, and never the held-out ones.
NEAR_MIDDLE = (24.0, 40.0)  # Where every motion has room.

Workflow = Literal["animate_image", "interpolate", "loop", "extend", "storytelling"]
LONG: tuple[Workflow, ...] = ("extend", "storytelling")


@dataclass(frozen=True, slots=True)
class Job:
    """One video to make. The prompt is the scene's caption, the pictures are its ends.

    name: also the file's name. seed: of the sampler's noise.
    """

    name: str
    workflow: Workflow
    scene: Scene
    seed: int

    @property
    def pictures(self) -> list[np.ndarray]:
        """The first picture, and for `interpolate` the last: uint8 `[H, W, 3]`."""
        ends = (0.0, 1.0) if self.workflow == "interpolate" else (0.0,)
        return [picture(self.scene, progress) for progress in ends]


def picture(scene: Scene, progress: float) -> np.ndarray:
    """A true frame as an image file holds it: uint8 `[H, W, 3]`."""
    return (render_frame(scene, progress).transpose(1, 2, 0) * 255).round().astype(np.uint8)


def is_near_middle(scene: Scene) -> bool:
    """Whether the picture leaves every motion room, and so does not reveal it."""
    low, high = NEAR_MIDDLE
    return low <= scene.x <= high and low <= scene.y <= high


def held_out(count: int) -> list[Scene]:
    """The first `count` scenes: combinations of shape, colour and motion that never train."""
    return [make_scene(SCENES, i, "held_out") for i in range(count)]


def prompted(count: int) -> list[Job]:
    """Pictures and their own prompts."""
    return [
        Job(f"prompted-{i:03d}", "animate_image", scene, i)
        for i, scene in enumerate(held_out(count))
    ]


def reversed_prompts(count: int, prompted_count: int) -> list[Job]:
    """The first `count` of the prompted pictures with room, with the opposite motion's words."""
    jobs = [job for job in prompted(prompted_count) if is_near_middle(job.scene)]
    return [
        replace(job, name=job.name.replace("prompted", "reversed"), scene=opposite(job.scene))
        for job in jobs[:count]
    ]


def opposite(scene: Scene) -> Scene:
    """The same picture with the opposite motion."""
    return replace(scene, motion=OPPOSITE[scene.motion])


def ends(workflow: Workflow, count: int) -> list[Job]:
    """Held-out scenes for interpolation or loops; other ones than `prompted` begins with."""
    scenes = [make_scene(SCENES + 1, i, "held_out") for i in range(count)]
    return [Job(f"{workflow}-{i:03d}", workflow, scene, i) for i, scene in enumerate(scenes)]
