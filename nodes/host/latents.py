"""LATENTs of videos: rows `[N*T, 4, h, w]`, and how many of them make a video."""

import logging
from collections.abc import Sequence
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from . import keys
from .protocols import Conditioning, Latent, Values

logger = logging.getLogger(__name__)

# An upscale may round to multiples of 8, and hardly anyone sees less.
SQUEEZE = 1.1


def empty_latent(videos: int, length: int, height: int, width: int) -> Latent:
    """LATENT of zeros, `[N*T, 4, h, w]`, with its number of frames; height and width in pixels."""
    device = comfy.model_management.intermediate_device()
    samples = torch.zeros(videos * length, 4, height // 8, width // 8, device=device)
    return {"samples": samples, "num_frames": length}


def continued_latent(known: Tensor, length: int) -> Latent:
    """LATENT of `length` frames that starts with `known`, held by its mask; the rest is sampled."""
    device = comfy.model_management.intermediate_device()
    frames, *shape = known.shape
    latents = torch.zeros(length, *shape, device=device)
    latents[:frames] = known.to(latents)
    mask = torch.ones(length, 1, *shape[1:], device=device)
    mask[:frames] = 0
    return {"samples": latents, "num_frames": length, "noise_mask": mask}


def frames_per_video(latent: Latent) -> int:
    """T of a LATENT `[N*T, 4, h, w]`; all of its rows where its `num_frames` does not divide them.

    Stock nodes that pick or join frames leave the number as it was.
    """
    rows = latent["samples"].shape[0]
    frames = latent.get("num_frames")
    return frames if isinstance(frames, int) and frames > 0 and rows % frames == 0 else rows


def stated_frames(cond: Values, rows: int) -> int:
    """T as a conditioning says, where that divides the rows of the latent batch, else all."""
    frames = int(cond.get(keys.NUM_FRAMES, rows))
    return frames if 0 < frames <= rows and rows % frames == 0 else rows


def with_length(latent: Latent, conditioning: Conditioning) -> Latent:
    """The LATENT with the conditioning's number of frames where it has none of its own.

    A saved and loaded latent has lost it.
    """
    length = conditioning[0][1].get(keys.NUM_FRAMES)
    if "num_frames" in latent or not length or latent["samples"].shape[0] % length:
        return latent
    return {**latent, "num_frames": length}


def has_fixed_seed(latent: Latent) -> bool:
    """Whether Latent Batch Seed Behavior asks for the same noise in every row."""
    rows, index = latent["samples"].shape[0], latent.get("batch_index")
    return isinstance(index, list) and len(index) == rows > 1 and index.count(index[0]) == rows


def is_squeezed(found: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether latents (height, width) resized to others get visibly other proportions."""
    ratio = (found[1] * wanted[0]) / (found[0] * wanted[1])
    return not 1 / SQUEEZE < ratio < SQUEEZE


def warn_of_squeeze(images: Tensor, noise_shape: Any) -> bool:
    """A line in the log where latents were cropped or turned after their images were encoded.

    images: guidance latents `[B, 4, h, w]`, which follow the size `[..., h, w]` of the noise.
    """
    if images.ndim != 4 or images.numel() == 0 or len(noise_shape) != 4:
        return False  # refused elsewhere
    (height, width), (new_height, new_width) = images.shape[-2:], noise_shape[-2:]
    if not is_squeezed((height, width), (new_height, new_width)):
        return False
    logger.warning(
        "The images of Visual Detail Guidance are %d x %d, the latents %d x %d: the images are "
        "squeezed to fit; set width and height there to the latents' size.",
        *(width * 8, height * 8, new_width * 8, new_height * 8),
    )
    return True
