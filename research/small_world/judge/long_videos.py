"""Videos of 40 frames: *Extend* twice, or a storyboard of three shots, there, back and there again.

A first clip of 16 frames moves as its scene does. Two more of 16, which share 4 frames with the one
before, go the opposite way and the first one again.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from itertools import count as counting
from typing import Any

import numpy as np

from scripts.comfyui.workflow_settings import SHOT, STORYBOARD, Prompt

from ..world.scenes import NUM_FRAMES, OPPOSITE, Scene, make_scene
from .pairs import SCENES, Job, Workflow, is_near_middle
from .shapes import visible_share

OVERLAP = 4
ADDED = NUM_FRAMES - OVERLAP
# The last frame of each of the three clips.
CLIP_ENDS = tuple(NUM_FRAMES - 1 + clip * ADDED for clip in range(3))
LONG_FRAMES = CLIP_ENDS[-1] + 1
# Where the object leaves the picture, a lost shape would be a lack of memory, not drift.
WHOLE = 0.95
Link = list[Any]


def long_videos(workflow: Workflow, count: int) -> list[Job]:
    """The first `count` held-out scenes with room for the whole way; the same for all workflows."""
    scenes = (make_scene(SCENES + 2, i, "held_out") for i in counting())
    jobs: list[Job] = []
    while len(jobs) < count:
        scene = next(scenes)
        if is_near_middle(scene) and visible_share(scene, 1.0) >= WHOLE:
            number = len(jobs)
            jobs.append(Job(f"{workflow}-{number:03d}", workflow, scene, number))
    return jobs


def captions(scene: Scene) -> list[str]:
    """The words of the three clips."""
    back = replace(scene, motion=OPPOSITE[scene.motion])
    return [scene.caption, back.caption, scene.caption]


def true_progress() -> np.ndarray:
    """How far the object should be on each frame, as a share of the first clip's way."""
    steps = np.repeat([1.0, -1.0, 1.0], [NUM_FRAMES - 1, ADDED, ADDED]) / (NUM_FRAMES - 1)
    return np.concatenate([[0.0], steps.cumsum()])


def lengthen(prompt: Prompt, workflow: Workflow) -> None:
    """Make the shipped workflow's prompt one of three clips in one place."""
    if workflow == "storytelling":
        _keep_shots(prompt, len(CLIP_ENDS))
    else:
        _extend_again(prompt)


def _keep_shots(prompt: Prompt, number: int) -> None:
    """The first shots of a storyboard, all after the first one's picture."""
    shots = sorted((k for k, n in prompt.items() if n["class_type"] == SHOT), key=int)
    for key in shots[number:]:
        del prompt[key]
    for key in shots[1:number]:
        prompt[key]["inputs"].pop("image", None)
    (board,) = (node for node in prompt.values() if node["class_type"] == STORYBOARD)
    board["inputs"]["shots"] = [shots[number - 1], 0]
    needed = {link[0] for node in prompt.values() for link in _links(node).values()}
    for key in [k for k, n in prompt.items() if n["class_type"] == "LoadImage" and k not in needed]:
        del prompt[key]


def _extend_again(prompt: Prompt) -> None:
    """A second *Extend* with its own words, sampler and decoder, on what the first one gave."""
    (video,) = (node for node in prompt.values() if node["class_type"] == "CreateVideo")
    join = video["inputs"]["images"][0]
    extend, decode = (prompt[join]["inputs"][f"images.image{i}"][0] for i in (0, 1))
    sampler = prompt[decode]["inputs"]["samples"][0]
    images, samples = (prompt[extend]["inputs"][name][0] for name in ("images", "samples"))
    stage = [*(_above(prompt, decode) - _above(prompt, images)), join]
    own = {key: str(1000 + int(key)) for key in stage}
    for key, new in own.items():
        node = deepcopy(prompt[key])
        for name, (source, slot) in _links(node).items():
            follows = {images: decode, samples: sampler}.get(source, source)
            node["inputs"][name] = [own.get(source, follows), slot]
        prompt[new] = node
    prompt[join]["inputs"]["images.image1"] = [own[join], 0]


def _links(node: Mapping[str, Any]) -> dict[str, Link]:
    return {name: value for name, value in node["inputs"].items() if isinstance(value, list)}


def _above(prompt: Prompt, key: str) -> set[str]:
    """A node and all that it is made from."""
    found = {key}
    for source, _ in _links(prompt[key]).values():
        found |= _above(prompt, source)
    return found
