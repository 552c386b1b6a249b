"""Samples clips from the models: every arm alike, then with one thing changed at a time."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dc_model import vdg
from dc_model.frames import fold_frames
from dc_model.preprocess import eight_bit
from dc_model.sampling.schedule import schedule_of
from dc_model.sampling.videos import sample_videos
from dc_model.variants import VARIANTS
from training.encoders import Encoders
from training.model import VideoModel

from ..train.preset import NUM_GATES
from ..world.render import render_clip
from ..world.scenes import MOTIONS, OPPOSITE, Scene, central, make_scene
from .arms import Arm, Plan

# Spatial transformers at the latent's own size are the outer ones, those at half of it the middle.
OUTER = (0, 5, 6)
FIRST_SCENES = 88
GUIDANCE_RESCALE = 0.7
GRID = (1.0, 3.0, 7.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How one set of clips is sampled.

    words: the caption: the scene's own, the opposite motion's, or none. scales: multipliers
    of lambda per layer. cfg: None = the plan's. image_cfg: a scale of its own for the image.
    share: of the plan's clips.
    """

    words: str = "own"
    scales: tuple[float, ...] | None = None
    cfg: float | None = None
    image_cfg: float | None = None
    share: float = 1.0

    def prompted(self, scene: Scene) -> Scene:
        """The scene that the words describe; the picture stays."""
        opposite = replace(scene, motion=OPPOSITE[scene.motion])
        return opposite if self.words == "opposite" else scene


def lambda_trials() -> dict[str, Trial]:
    """The trained gates of the full method doubled or closed, outer and middle layers apart."""
    trials = {"lambda off": Trial(scales=(0.0,) * NUM_GATES)}
    for label, value in (("doubled", 2.0), ("closed", 0.0)):
        outer = tuple(value if i in OUTER else 1.0 for i in range(NUM_GATES))
        middle = tuple(1.0 if i in OUTER else value for i in range(NUM_GATES))
        trials[f"outer lambda {label}"] = Trial(scales=outer)
        trials[f"middle lambda {label}"] = Trial(scales=middle)
    return trials


def guidance_grid() -> dict[str, Trial]:
    """Text scale by image scale."""
    return {
        f"cfg {text:g}, image cfg {image:g}": Trial(cfg=text, image_cfg=image, share=0.5)
        for text in GRID
        for image in GRID
    }


def measured_scenes(seed: int, count: int) -> list[Scene]:
    """Held-out scenes with the object near the middle, all motions alike often."""
    wanted = {motion: count // len(MOTIONS) for motion in MOTIONS}
    chosen: list[Scene] = []
    index = 0
    while any(wanted.values()):
        scene = make_scene(FIRST_SCENES + seed, index, "held_out")
        index += 1
        if wanted[scene.motion]:
            wanted[scene.motion] -= 1
            chosen.append(central(scene))
    return chosen


@torch.no_grad()
def sample(
    model: VideoModel, arm: Arm, encoders: Encoders, scenes: list[Scene], trial: Trial, plan: Plan
) -> np.ndarray:
    """Clips `[N, T, 3, H, W]` uint8. The same noise for every arm and trial."""
    generator = torch.Generator().manual_seed(123)
    model.image_strengths = trial.scales
    out = []
    for start in range(0, len(scenes), 12):
        part = scenes[start : start + 12]
        with torch.autocast("cpu", torch.bfloat16):
            latents = _latents(model, arm, encoders, part, trial, plan, generator)
            frames = encoders.vae.decode(fold_frames(latents)).float().clamp(-1, 1)
        out.append(eight_bit(frames).unflatten(0, (len(part), plan.num_frames)).numpy())
    model.image_strengths = None
    return np.concatenate(out)


def _latents(
    model: VideoModel,
    arm: Arm,
    encoders: Encoders,
    scenes: list[Scene],
    trial: Trial,
    plan: Plan,
    generator: torch.Generator,
) -> Tensor:
    first = torch.from_numpy(np.stack([render_clip(s)[0] for s in scenes])) * 2 - 1
    concat = vdg.animate(encoders.vae.encode(first), plan.num_frames)  # [N, 4, T, h, w]
    tokens = null = None
    if arm.image_tokens:
        tokens = encoders.towers.visual(encoders.preprocess(first)).float()
        null = encoders.null_image_tokens().expand_as(tokens)
    captions = ["" if trial.words == "none" else trial.prompted(s).caption for s in scenes]
    return sample_videos(
        model,
        schedule_of(VARIANTS["512"]),
        noise=torch.randn(concat.shape, generator=generator),
        concat=concat.float() if arm.uses_concat else None,
        text=encoders.text(captions),
        null_text=encoders.text([""] * len(scenes)),
        image_tokens=tokens,
        null_image_tokens=null,
        speed=torch.tensor([float(s.fps) for s in scenes]),
        steps=plan.sampling_steps,
        cfg=plan.cfg if trial.cfg is None else trial.cfg,
        image_cfg=trial.image_cfg,
        guidance_rescale=GUIDANCE_RESCALE,
        eta=1.0,
        generator=generator,
    )


TRIALS: dict[str, Trial] = {
    "": Trial(),
    "opposite words": Trial(words="opposite"),
    "no words": Trial(words="none", cfg=1.0),
    **lambda_trials(),
    **guidance_grid(),
}
