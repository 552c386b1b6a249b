"""Checks at node boundaries, and the one style of their messages.

A message names what was found, what was expected and what to do, in one sentence.
"""

from typing import Any

# What to do where a checkpoint brings no such part, or another one is connected.
REMEDIES = {
    "CLIP": "load OpenCLIP ViT-H (SD 2.1's text encoder) with Load CLIP, type stable_diffusion",
    "VAE": "load vae-ft-mse-840000-ema-pruned with Load VAE",
    "CLIP_VISION": "load CLIP-ViT-H-14-laion2B-s32B-b79K with Load CLIP Vision",
    "projector": "load a file that keeps image_proj_model.*, such as the original checkpoint",
}

# Channels of the latents of Stable Diffusion 1.x VAEs.
LATENT_CHANNELS = 4


class InputError(ValueError):
    """A connection or a value that cannot work; the message says what to do."""


def require(value: Any, part: str, remedy: str) -> Any:
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


def require_text_width(conditioning: Any, width: int) -> None:
    """InputError unless all prompts of a CONDITIONING have `width` channels."""
    for text, *_ in conditioning:
        if text.shape[-1] != width:
            raise InputError(
                f"The text encoder gives {text.shape[-1]} channels, this model needs {width}: "
                f"connect the CLIP of its checkpoint, or {REMEDIES['CLIP']}."
            )


def require_vae(vae: Any) -> Any:
    """The VAE, or InputError when there is none or its latents are another model's."""
    require(vae, "VAE", REMEDIES["VAE"])
    channels = getattr(vae, "latent_channels", LATENT_CHANNELS)
    if channels != LATENT_CHANNELS:
        raise InputError(
            f"The VAE's latents have {channels} channels, this model's have {LATENT_CHANNELS}: "
            f"connect the VAE of its checkpoint, or {REMEDIES['VAE']}."
        )
    return vae
