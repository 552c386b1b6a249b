"""Checks of images, numbers and latents, in the style of `errors`.

A NaN that reaches the network costs the whole run and tells nothing, so that every stage looks at
what it takes in and gives out.
"""

import math
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from .errors import LATENT_CHANNELS, InputError

# What usually made a stage's numbers overflow, and the setting to change.
DECODING = (
    "the VAE's half precision overflows or its file is damaged; start ComfyUI with --fp32-vae, or "
    "load vae-ft-mse-840000-ema-pruned with Load VAE"
)
ENCODING = DECODING
SAMPLING = (
    "half precision overflows, cfg is very high or the checkpoint is damaged; set weight_dtype to "
    "fp32 or bf16 in the loader, lower cfg, or download the checkpoint again"
)
LATENTS = "an earlier sampler overflowed; set weight_dtype to fp32 or bf16 in the loader"
CONTEXT = (
    "the encoder's half precision overflows or its file is damaged; start ComfyUI with "
    "--fp32-text-enc, or download the checkpoint again"
)


def require_images(image: Any, name: str) -> Tensor:
    """Colour images `[B, H, W, 3]`; grey ones get three channels, alpha is left away.

    Raises InputError for another shape, an empty batch or side, and pixels that are not finite.
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        found = f"shape {list(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise InputError(
            f"{name} has {found}; expected a batch of images [B, H, W, 3], connect an IMAGE such "
            "as Load Image gives."
        )
    if image.numel() == 0:
        batch, height, width, _ = image.shape
        raise InputError(
            f"{name} is empty, {batch} images of {width} x {height} pixels; connect at least one "
            "image of at least 1 x 1."
        )
    if not _all_finite(image):
        raise InputError(
            f"{name} has pixels that are not finite (NaN or infinite), {_where(image)}; look at "
            "the node that made it, often a decoder in half precision."
        )
    return image.expand(*image.shape[:-1], 3) if image.shape[-1] == 1 else image[..., :3]


def require_numbers(**values: float) -> None:
    """InputError unless every value is finite: NaN passes the host's limits of a widget."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise InputError(f"{name} is {value}, no finite number; set it to one.")


def require_latent(latent: Any) -> Tensor:
    """The samples `[N*T, 4, h, w]` of a LATENT, or InputError when they are another model's."""
    samples = latent["samples"]
    shape = list(samples.shape)
    if samples.ndim != 4 or samples.shape[1] != LATENT_CHANNELS or 0 in shape:
        raise InputError(
            f"The latent has shape {shape}; expected [frames, {LATENT_CHANNELS}, height / 8, "
            "width / 8]: connect the latent of Visual Detail Guidance or of a DynamiCrafter "
            "sampler."
        )
    return require_finite(samples, "The latent input", LATENTS)


def require_finite(values: Tensor, what: str, cause: str) -> Tensor:
    """`values` `[B, ...]`, or InputError with the likely cause and the setting to change."""
    if not _all_finite(values):
        raise InputError(
            f"{what} has numbers that are not finite (NaN or infinite), {_where(values)}; probably "
            f"{cause}."
        )
    return values


def require_room(videos: int, length: int, height: int, width: int) -> None:
    """InputError when a video's latents alone would not fit into the free memory."""
    device = comfy.model_management.intermediate_device()
    free = comfy.model_management.get_free_memory(device)
    # The latent, what is concatenated to it, and the noise.
    needed = 3 * videos * length * LATENT_CHANNELS * (height // 8) * (width // 8) * 4
    if needed > free:
        raise InputError(
            f"{videos} x {length} frames of {width} x {height} need {needed / 1e9:.1f} GB for the "
            f"latents alone, but {free / 1e9:.1f} GB are free; choose a smaller size, length or "
            "batch_size."
        )


def _all_finite(values: Tensor) -> bool:
    # A sum carries every NaN and infinity; it may also overflow, so that only a doubt costs more.
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def _where(values: Tensor) -> str:
    rows = values.isfinite().flatten(1).all(dim=1).logical_not().nonzero().flatten().tolist()
    return f"in {len(rows)} of {values.shape[0]} frames, first frame {rows[0]}"
