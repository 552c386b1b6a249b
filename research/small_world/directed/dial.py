"""How far objects go by the dial's position, for each of its means, on the real ComfyUI server.

The shipped workflow with *Motion Amount* in it. A scene keeps its noise in all positions, so each
distance is measured as a share of what the same scene has with the dial at 0.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scripts.comfyui.server import ComfyServer, link_checkpoint
from scripts.comfyui.setup import PACK, Host
from scripts.comfyui.workflow_settings import DETAIL, LOADER, Prompt

from ..judge.pairs import Job, is_near_middle, prompted
from ..judge.server import FRAMES, fetch_frames, job_prompt
from ..judge.tracker import change, follow
from ..world.scenes import DIRECTIONS
from .scenes import Figures, note

log = logging.getLogger(__name__)

SAMPLER = "DynamiCrafterSampler"
PLAIN = ("all", 0.0)
# Objects go as far as in more steps (docs/speed.md#fewer-steps).
STEPS = 10
# A lower start only adds motion.
POSITIONS = {
    "speed": (-1.0, -0.5, 0.5, 1.0),
    "lambda": (-1.0, 1.0),
    "start": (1.0,),
}


def jobs_of(count: int, first: int = 0) -> list[Job]:
    """Objects near the middle that go somewhere."""
    going = (
        job
        for job in prompted(first + 12 * count)[first:]
        if job.scene.motion in DIRECTIONS and is_near_middle(job.scene)
    )
    return [job for job, _ in zip(going, range(count), strict=False)]


def judge(checkpoint: Path, host: Host, count: int, first: int = 0) -> Figures:
    """Shares of the distance at 0 by means and position, and that distance in pixels.

    changed: how far the video is from that at 0, mean of all pixels, of 255. Of two scenes with the
    same number in two lists, both are the same; NaN where nothing was seen.
    """
    found = Figures()
    with ComfyServer(host.comfyui, packs=[PACK], python=host.python) as server:
        link_checkpoint(checkpoint, server.base / "models" / "checkpoints")
        info = server.object_info()
        for number, job in enumerate(jobs_of(count, first), 1):
            videos = {}
            for means, motion in positions():
                prompt = job_prompt(job, checkpoint, server, info, STEPS)
                turn(prompt, means, motion)
                videos[means, motion] = fetch_frames(server, server.prompt(prompt)[FRAMES]) / 255
            figures = compare(videos, job.pictures[0] / 255)
            note(found, **figures)
            shown = ", ".join(f"{name}: {value:.2f}" for name, value in figures.items())
            log.info("%d of %d: %s", number, count, shown)
    return found


def compare(
    videos: Mapping[tuple[str, float], np.ndarray], picture: np.ndarray
) -> dict[str, float]:
    """The figures of one scene; videos `[T, H, W, 3]` by means and position. See `judge`."""
    plain = videos[PLAIN]
    far = {where: _distance(video, picture) for where, video in videos.items()}
    figures = {"at 0, px": far[PLAIN]}
    for (means, motion), video in videos.items():
        if (means, motion) != PLAIN:
            figures[f"{means} {motion:+.1f}"] = far[means, motion] / far[PLAIN]
            changed = 255 * np.abs(video - plain).mean()
            figures[f"{means} {motion:+.1f}, changed"] = float(changed)
    return figures


def _distance(video: np.ndarray, picture: np.ndarray) -> float:
    dx, dy, _ = change(follow(video, picture))
    return float(np.hypot(dx, dy))


def positions() -> Iterator[tuple[str, float]]:
    """Means and position; first the dial at 0."""
    yield PLAIN
    for means, turned in POSITIONS.items():
        yield from ((means, motion) for motion in turned)


def turn(prompt: Prompt, means: str, motion: float) -> None:
    """Puts *Motion Amount* into the prompt: model, speed, starting timestep and its noise."""
    (loader,) = (key for key, node in prompt.items() if node["class_type"] == LOADER)
    (detail,) = (node for node in prompt.values() if node["class_type"] == DETAIL)
    (sampler,) = (node for node in prompt.values() if node["class_type"] == SAMPLER)
    given: dict[str, Any] = sampler["inputs"]
    dial = {"model": [loader, 0], "motion": motion, "means": means}
    prompt["dial"] = _node("DynamiCrafterMotionAmount", **dial)
    prompt["init"] = _node(
        "DynamiCrafterAnalyticInit",
        model=[loader, 0],
        init_file="built-in",
        seed=given["seed"],
        start_timestep=["dial", 2],
    )
    detail["inputs"]["fps"] = ["dial", 1]
    given.update(model=["dial", 0], noise=["init", 0], start_timestep=["dial", 2])


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}
