"""What perfect videos would get: true clips, and true clips through the checkpoint's VAE alone."""

from pathlib import Path

import numpy as np
import torch

from dc_model.checkpoint.layout import split_checkpoint
from dc_model.encoders.autoencoder import Autoencoder
from training.conditioning import palindrome
from training.saving import load_tensors

from ..train.preset import encoders_of
from ..world.render import render_clip, render_frame
from ..world.scenes import Scene
from .long_videos import true_progress
from .measures import Record, measure
from .pairs import LONG, Job
from .shapes import ShapeClassifier


def load_vae(checkpoint: Path) -> Autoencoder:
    """The autoencoder inside a demo checkpoint, frozen."""
    state = {key: value.float() for key, value in load_tensors(checkpoint).items()}
    return encoders_of(split_checkpoint(state)).vae.eval().requires_grad_(False)


def true_clip(job: Job) -> np.ndarray:
    """The clip that the job's words describe, as an image file holds it: `[T, H, W, 3]` in [0, 1].

    For a loop it goes and returns, as in training, without the doubled last frame; a long one goes,
    returns and goes again.
    """
    if job.workflow in LONG:
        return (_long_clip(job.scene) * 255).round() / 255
    clip = (render_clip(job.scene).transpose(0, 2, 3, 1) * 255).round() / 255
    if job.workflow == "loop":
        return clip[palindrome(torch.arange(len(clip))[None])[0, :-1].numpy()]
    return clip


def _long_clip(scene: Scene) -> np.ndarray:
    frames = [render_frame(scene, progress) for progress in true_progress()]
    return np.stack(frames).transpose(0, 2, 3, 1)


@torch.no_grad()
def reconstructed(vae: Autoencoder, clip: np.ndarray) -> np.ndarray:
    """`[T, H, W, 3]` in [0, 1] through the VAE and 8 bits."""
    frames = torch.from_numpy(clip.astype(np.float32)).permute(0, 3, 1, 2) * 2 - 1  # [T, 3, H, W]
    out = (vae.decode(vae.encode(frames)).clamp(-1, 1) + 1) / 2
    return (out.permute(0, 2, 3, 1).numpy() * 255).round() / 255


def measure_ceilings(
    jobs: list[Job], vae: Autoencoder, classifier: ShapeClassifier
) -> dict[str, list[Record]]:
    """Records as of videos, for "true" clips and for what the "vae" leaves of them."""
    found: dict[str, list[Record]] = {"true": [], "vae": []}
    for job in jobs:
        clip = true_clip(job)
        best = reconstructed(vae, clip)
        for name, video in (("true", clip), ("vae", best)):
            found[name].append(measure(job, video, best[:1], classifier))
    return found
