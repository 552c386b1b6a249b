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
from ..world.scenes import OPPOSITE, Scene
from .arms import Arm, Plan
from .runs import blurred

# Spatial transformers at the latent's own size are the outer ones, those at half of it the middle.
OUTER = (0, 5, 6)
GUIDANCE_RESCALE = 0.7
GRID = (1.0, 3.0, 7.5)
STRENGTHS = (0.0, 0.5, 2.0)
BATCH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How one set of clips is sampled.

    words: the scene's own caption, the opposite motion's, that of the motion alone, or none. frame:
    which one the picture is. image_strengths: of lambda per layer. cfg: None = the plan's.
    image_cfg: a scale of its own for the image. share: of the plan's clips.
    """

    words: str = "own"
    frame: int = 0
    image_strengths: tuple[float, ...] | None = None
    cfg: float | None = None
    image_cfg: float | None = None
    share: float = 1.0

    def prompted(self, scene: Scene) -> Scene:
        """The scene that the words describe; the picture stays."""
        opposite = replace(scene, motion=OPPOSITE[scene.motion])
        return opposite if self.words == "opposite" else scene


MOTION_WORDS = "motion words alone"


def lambda_trial(place: str, strength: float) -> str:
    """The name of one of `lambda_trials`. place: "middle" or "outer"."""
    return f"{MOTION_WORDS}, {place} lambda x {strength:g}"


def lambda_trials() -> dict[str, Trial]:
    """The trained gates times a strength, outer and middle layers apart.

    The words name the motion alone, so what the picture shows comes through these gates.
    """
    return {
        lambda_trial(place, strength): Trial(
            words="motion",
            image_strengths=tuple(
                strength if (i in OUTER) == (place == "outer") else 1.0 for i in range(NUM_GATES)
            ),
        )
        for place in ("middle", "outer")
        for strength in STRENGTHS
    }


def guidance_grid() -> dict[str, Trial]:
    """Text scale by image scale."""
    return {
        f"cfg {text:g}, image cfg {image:g}": Trial(cfg=text, image_cfg=image, share=0.5)
        for text in GRID
        for image in GRID
    }


OPPOSITE_WORDS, NO_WORDS, FRAME_FOUR = "opposite words", "no words", "picture is frame 4"
TWICE = "twice the scenes"
TRIALS: dict[str, Trial] = {
    "": Trial(),
    TWICE: Trial(share=2.0),
    MOTION_WORDS: Trial(words="motion"),
    OPPOSITE_WORDS: Trial(words="opposite"),
    NO_WORDS: Trial(words="none"),
    FRAME_FOUR: Trial(frame=4),
    **lambda_trials(),
    **guidance_grid(),
}


@torch.no_grad()
def sample(
    model: VideoModel, arm: Arm, encoders: Encoders, scenes: list[Scene], trial: Trial, plan: Plan
) -> np.ndarray:
    """Clips `[N, T, 3, H, W]` uint8. A scene has the same noise in every arm and trial."""
    model.image_strengths = trial.image_strengths
    out = []
    for start in range(0, len(scenes), BATCH):
        part = scenes[start : start + BATCH]
        generator = torch.Generator().manual_seed(123 + start)
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
    clips = np.stack([render_clip(scene, plan.num_frames)[trial.frame] for scene in scenes])
    pictures = torch.from_numpy(clips) * 2 - 1
    seen = blurred(pictures) if arm.dose == "blurred" else pictures
    concat = vdg.animate(encoders.vae.encode(seen).float(), plan.num_frames)  # [N, 4, T, h, w]
    tokens = null = None
    if arm.context:
        tokens = encoders.towers.visual(encoders.preprocess(pictures)).float()
        null = encoders.null_image_tokens().expand_as(tokens)
    words = trial.words if arm.text else "none"
    return sample_videos(
        model,
        schedule_of(VARIANTS["512"]),
        noise=torch.randn(concat.shape, generator=generator),
        concat=None if arm.dose == "none" else concat,
        text=encoders.text([_caption(trial.prompted(scene), words) for scene in scenes]),
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


def _caption(scene: Scene, words: str) -> str:
    return {"none": "", "motion": scene.motion_caption}.get(words, scene.caption)
