"""Checks at a node's boundary, and the one style of their messages.

A message names what was found, what was expected and what to do, in one sentence. A NaN ruins a
run silently, so every node checks its inputs and results.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import comfy.model_management
import torch
from torch import Tensor

from .host import keys
from .host.protocols import Conditioning, Latent

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# HDR goes beyond 1; values near 255 were never divided.
MAX_PIXEL = 16.0
MAX_LATENT = 1e4

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

# What to do where a checkpoint brings no such part, or another one is connected.
REMEDIES = {
    "CLIP": "load OpenCLIP ViT-H (SD 2.1's text encoder) with Load CLIP, type stable_diffusion",
    "VAE": "load vae-ft-mse-840000-ema-pruned with Load VAE",
    "CLIP_VISION": "load CLIP-ViT-H-14-laion2B-s32B-b79K with Load CLIP Vision",
    "projector": "load a file that keeps image_proj_model.*, such as the original checkpoint",
}

# Channels of the latents of Stable Diffusion 1.x VAEs.
LATENT_CHANNELS = 4


# What a prompt's settings hold beside the text, its name, and what usually spoils it.
_TENSORS_OF_PROMPTS = {
    keys.CONCAT_LATENT: ("image latents", ENCODING),
    keys.HELD_LATENTS: ("held latents", ENCODING),
    keys.IMAGE_CONTEXT: ("image context", CONTEXT),
    "mask": ("area mask", "the node that made it divided by zero"),
}


class InputError(ValueError):
    """A connection or a value that cannot work; the message says what to do."""


def require(value: object, part: str, remedy: str) -> Any:
    """`value`, or InputError when a loader gave None because its file lacks `part`."""
    if value is None:
        raise InputError(f"This node got no {part}; {remedy}.")
    return value


def require_multiple_of_8(**sizes: int) -> None:
    """InputError unless every size is a positive multiple of 8."""
    for name, size in sizes.items():
        if size < 8 or size % 8:
            nearest = max(8, round(size / 8) * 8)
            raise InputError(f"{name} is {size}; choose a multiple of 8, for example {nearest}.")


def require_count(found: int, allowed: tuple[int, ...], what: str, remedy: str) -> None:
    """InputError unless `found` is one of `allowed`."""
    if found not in allowed:
        choices = " or ".join(str(n) for n in sorted(set(allowed)))
        raise InputError(f"{found} {what}; expected {choices}: {remedy}.")


def require_proportions(found: Sequence[int], wanted: Sequence[int], what: str, whose: str) -> None:
    """InputError unless a picture (height, width) has the proportions of another, within 5 %.

    Models round sizes; other proportions are another picture.
    """
    if abs(found[1] * wanted[0] - found[0] * wanted[1]) > 0.05 * found[1] * wanted[0]:
        raise InputError(
            f"{what} has {found[1]} x {found[0]} pixels, {whose} {wanted[1]} x {wanted[0]}; make "
            "both of one picture."
        )


def require_text_width(conditioning: Conditioning, width: int) -> None:
    """InputError unless all prompts of a CONDITIONING have `width` channels."""
    for text, *_ in conditioning:
        if text.shape[-1] != width:
            raise InputError(
                f"The text encoder gives {text.shape[-1]} channels, this model needs {width}: "
                f"connect the CLIP of its checkpoint, or {REMEDIES['CLIP']}."
            )


def require_vae(vae: object) -> object:
    """The VAE, or InputError when there is none or its latents are another model's."""
    require(vae, "VAE", REMEDIES["VAE"])
    channels = getattr(vae, "latent_channels", LATENT_CHANNELS)
    if channels != LATENT_CHANNELS:
        raise InputError(
            f"The VAE's latents have {channels} channels, this model's have {LATENT_CHANNELS}: "
            f"connect the VAE of its checkpoint, or {REMEDIES['VAE']}."
        )
    return vae


def require_images(image: Any, name: str) -> Tensor:
    """Colour images `[B, H, W, 3]`, float32; grey ones get three channels, alpha is dropped.

    Raises InputError for another shape or kind of numbers, an empty batch or side, and pixels that
    are not finite or far from 0 to 1.
    """
    _require_plain(image, name, "images [B, H, W, 3]", "connect Load Image or another IMAGE")
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise InputError(
            f"{name} has shape {list(image.shape)}; expected a batch of images [B, H, W, 3]; "
            "connect Load Image or another IMAGE."
        )
    if image.numel() == 0:
        batch, height, width, _ = image.shape
        raise InputError(
            f"{name} is empty, {batch} images of {width} x {height} pixels; connect at least one "
            "image of at least 1 x 1."
        )
    low, high = _extent(image)
    if not math.isfinite(low + high):
        raise InputError(
            f"{name} has pixels that are not finite (NaN or infinite), {_where(image)}; look at "
            "the node that made it, often a decoder in half precision."
        )
    if max(-low, high) > MAX_PIXEL:
        raise InputError(
            f"{name} has pixels from {low:.3g} to {high:.3g}; expected 0 to 1: divide those of 0 "
            "to 255 by 255, clamp others."
        )
    colours = image.expand(*image.shape[:-1], 3) if image.shape[-1] == 1 else image[..., :3]
    return colours.float()


def require_masks(mask: Any, name: str) -> Tensor:
    """Masks `[B, H, W]`, float32 in [0, 1]; one without a batch gets it.

    Raises InputError for another shape or kind of numbers, an empty one, and values that are not
    finite; others are clamped.
    """
    source = "connect the mask of Load Image or another MASK"
    _require_plain(mask, name, "masks [B, H, W]", source)
    masks = mask[None] if mask.ndim == 2 else mask
    if masks.ndim != 3 or masks.numel() == 0:
        raise InputError(
            f"{name} has shape {list(mask.shape)}; expected masks [B, H, W]: {source}."
        )
    low, high = _extent(masks)
    if not math.isfinite(low + high):
        raise InputError(
            f"{name} has values that are not finite (NaN or infinite), {_where(masks)}; look at "
            "the node that made it."
        )
    return masks.float().clamp(0, 1)


def require_latent_samples(latent: Any, name: str = "The latent") -> Tensor:
    """The samples of a LATENT of any model, a plain tensor of floats; InputError for others."""
    source = "connect the latent of Visual Detail Guidance or of a DynamiCrafter sampler"
    if not isinstance(latent, Mapping) or "samples" not in latent:
        raise InputError(f"{name} is a {type(latent).__name__} without samples; {source}.")
    samples = _require_plain(latent["samples"], name, "latents [frames, 4, h, w]", source)
    if samples.ndim != 4 or samples.numel() == 0:
        _refuse_latent(samples, name)
    low, high = _extent(require_finite(samples, f"{name} input", LATENTS))
    if max(-low, high) > MAX_LATENT:
        raise InputError(
            f"{name} has numbers from {low:.3g} to {high:.3g}, where a VAE's lie within "
            f"100; {source}."
        )
    return samples


def with_checked_mask(latent: Latent, name: str = "The latent") -> Latent:
    """A LATENT whose noise mask, if it has one, is in [0, 1].

    Raises InputError for one of another shape, an empty one, and values that are not finite.
    """
    mask = latent.get("noise_mask")
    if mask is None:
        return latent
    what, source = f"{name}'s noise mask", "connect Set Latent Noise Mask"
    _require_plain(mask, what, "masks [B, H, W]", source)
    if mask.ndim < 2 or mask.numel() == 0:
        raise InputError(
            f"{what} has shape {list(mask.shape)}; expected masks [B, H, W]: {source}."
        )
    require_finite(mask, what, "the node that made it divided by zero")
    return {**latent, "noise_mask": mask.clamp(0, 1)}


def require_latent(latent: Any, name: str = "The latent") -> Tensor:
    """The samples `[N*T, 4, h, w]` of a LATENT, or InputError when they are another model's."""
    samples = require_latent_samples(latent, name)
    require_rows(samples, name)
    return samples


def require_rows(samples: Tensor, name: str = "The latent") -> None:
    """InputError unless the latent has the shape that samplers take, `[N*T, 4, h, w]`."""
    if samples.ndim != 4 or samples.shape[1] != LATENT_CHANNELS:
        _refuse_latent(samples, name)


def _refuse_latent(samples: Tensor, name: str) -> NoReturn:
    raise InputError(
        f"{name} has shape {list(samples.shape)}; expected [frames, {LATENT_CHANNELS}, height / "
        "8, width / 8]: connect the latent of Visual Detail Guidance or of a DynamiCrafter "
        "sampler."
    )


def require_conditioning(conditioning: Any, name: str) -> Any:
    """A CONDITIONING: one or more prompts, each `[B, tokens, channels]` with its settings.

    Raises InputError for anything else.
    """
    source = "connect CLIP Text Encode, or a node that passes its CONDITIONING on"
    if not isinstance(conditioning, list | tuple):
        raise InputError(f"{name} is a {type(conditioning).__name__}; {source}.")
    if not conditioning:
        raise InputError(f"{name} is empty; {source}.")
    for entry in conditioning:
        if not isinstance(entry, list | tuple) or len(entry) != 2 or not isinstance(entry[1], dict):
            raise InputError(
                f"{name} has an entry that is not a prompt with its settings; {source}."
            )
        text = _require_plain(entry[0], name, "prompts [B, tokens, channels]", source)
        if text.ndim != 3 or text.numel() == 0:
            raise InputError(
                f"{name} has a prompt of shape {list(text.shape)}; expected [B, tokens, channels]: "
                f"{source}."
            )
        require_finite(text, name, CONTEXT)
        for key, (what, cause) in _TENSORS_OF_PROMPTS.items():
            value = entry[1].get(key)
            if value is not None:
                require_finite(_require_plain(value, f"{name}'s {what}", what, source), what, cause)
    return conditioning


def require_image_latents(given: Any, channels: int, allowed: tuple[int, ...], rows: int) -> None:
    """InputError unless a conditioning's images are `[one of allowed, channels, h, w]`.

    rows: frames of the latent that they are for.
    """
    shape = list(getattr(given, "shape", ()))
    if len(shape) != 4 or shape[1] != channels or 0 in shape:
        raise InputError(
            f"A conditioning's images are latents of shape {shape}; expected [frames, {channels}, "
            "height / 8, width / 8]: connect Visual Detail Guidance of this model."
        )
    if shape[0] not in allowed:
        raise InputError(
            f"A conditioning's images are for {shape[0]} frames, but the latent has {rows}; give "
            "both the same length."
        )


def require_tokens(tokens: Tensor) -> None:
    """InputError unless an image context is `[images, tokens, channels]`."""
    if tokens.ndim != 3 or tokens.numel() == 0:
        raise InputError(
            f"The image context has shape {list(tokens.shape)}; expected [images, tokens, "
            "channels]: connect Query-Transformer Projection."
        )


def require_noise(noise: Tensor, samples: Tensor) -> Tensor:
    """What a NOISE drew for `samples`, or InputError unless it has their shape."""
    source = "connect RandomNoise, Analytic-Init Noise or nothing"
    _require_plain(noise, "noise", f"a number for each of the latent's {samples.numel()}", source)
    if noise.shape != samples.shape:
        raise InputError(
            f"noise has shape {list(noise.shape)}, the latent {list(samples.shape)}; {source}."
        )
    return noise


def require_finite(values: Tensor, what: str, cause: str) -> Tensor:
    """`values` `[B, ...]`, or InputError with the likely cause and the setting to change."""
    if values.numel() and not math.isfinite(sum(_extent(values))):
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


def require_pixel_room(length: int, height: int, width: int) -> None:
    """InputError when a video's frames and their masks would not fit into the free memory."""
    free = comfy.model_management.get_free_memory(torch.device("cpu"))
    # Three colours and the mask, once as they are made and once joined.
    needed = 2 * length * 4 * height * width * 4
    if needed > free:
        raise InputError(
            f"{length} frames of {width} x {height} need {needed / 1e9:.1f} GB, but "
            f"{free / 1e9:.1f} GB are free; choose a smaller size or length."
        )


def _require_plain(value: object, name: str, expected: str, remedy: str) -> Tensor:
    """`value`, or InputError unless it is a dense tensor of floats with data."""
    if not isinstance(value, Tensor):
        found = f"a {type(value).__name__}" if value is not None else "nothing"
    elif value.is_meta:
        found = "a tensor without data (device meta)"
    elif value.is_nested or value.layout != torch.strided:
        found = "a nested tensor" if value.is_nested else f"a {value.layout} tensor"
    elif value.dtype not in FLOATS:
        found = f"a tensor of {value.dtype}"
    else:
        return value
    kinds = "float16, bfloat16, float32 or float64"
    raise InputError(f"{name} is {found}; expected {expected} of {kinds}: {remedy}.")


def _extent(values: Tensor) -> tuple[float, float]:
    """The smallest and the largest value; NaN where there is one. Takes no memory."""
    low, high = torch.aminmax(values)
    return float(low), float(high)


def _where(values: Tensor) -> str:
    finite = values.isfinite().reshape(values.shape[0], -1)
    rows = finite.all(dim=1).logical_not().nonzero().flatten().tolist()
    return f"in {len(rows)} of {values.shape[0]} frames, first frame {rows[0]}"
