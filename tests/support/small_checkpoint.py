"""Writes whole checkpoints small enough that a run of three steps takes well below a second.

The five parts have the published layouts: the U-Net and its number of frames are scaled down here,
the other parts are those of the tiny golden checkpoints.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tiny_checkpoint import schedule_buffers, weight
from torch import Tensor

from dc_model.frames import QUERIES_PER_FRAME
from dc_model.toon.dual_reference_vae import DualReferenceArch, DualReferenceVAE
from dc_model.toon.sketch_controlnet import SketchControlArch, SketchControlNet
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import VARIANTS, UNetArch, Variant

# Frames that get image tokens of their own.
FRAMES = 4
UNET = "model.diffusion_model."
VAE = "first_stage_model."
LATENTS = "image_proj_model.latents"
# The image tower's file also holds a text tower that nothing reads.
ENCODERS = ("first_stage_model.", "cond_stage_model.", "embedder.model.visual.", "image_proj_model")
# The network's own output is weak, so what samplers do differs by their errors, not by chaos.
OUTPUT_GAIN = 0.5

SMALL = UNetArch(
    model_channels=64,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_levels=(True, False),
    head_dim=32,
    context_dim=128,
)

SMALL_TOON_VAE = DualReferenceArch(
    base_channels=32, channel_mult=(1, 2, 2, 2), num_res_blocks=1, fusion_head_dim=8
)

SMALL_SKETCH = SketchControlArch(
    model_channels=SMALL.model_channels,
    channel_mult=SMALL.channel_mult,
    num_res_blocks=SMALL.num_res_blocks,
    attention_levels=SMALL.attention_levels,
    context_dim=SMALL.context_dim,
)

# Rows of image tokens where they are not FRAMES times 16.
SHARED_OR_PUBLISHED_LATENTS = {"videocrafter1_i2v": 16, "viewcrafter_25": 25 * 16}

Edit = Callable[[dict[str, Tensor]], None]


def small_arch(variant: str) -> UNetArch:
    """Dimensions of the small U-Net of a variant."""
    text_to_video = variant.startswith("videocrafter") and variant != "videocrafter1_i2v"
    first = variant.startswith("videocrafter1")
    return replace(
        SMALL,
        in_channels=4 if variant.startswith("videocrafter") else 8,
        learnable_image_scale=variant == "256",
        image_cross_attention=not text_to_video,
        relative_position=first and text_to_video,
        temporal_conv=not (first and text_to_video),
        speed_condition=variant != "videocrafter1_512",
    )


def shapes(
    arch: UNetArch, manifest: dict[str, list[int]], variant: str
) -> dict[str, tuple[int, ...]]:
    """Key -> shape of the whole file."""
    unet = DynamiCrafterUNet(arch, device="meta").state_dict()
    found = {UNET + key: tuple(tensor.shape) for key, tensor in unet.items()}
    for key, shape in manifest.items():
        if key.startswith(ENCODERS) and (
            arch.image_cross_attention or not key.startswith(("embedder.", "image_proj_model"))
        ):
            found[key] = tuple(shape)
    if LATENTS in found:
        latents = SHARED_OR_PUBLISHED_LATENTS.get(variant, FRAMES * QUERIES_PER_FRAME)
        found[LATENTS] = (1, latents, found[LATENTS][2])
    if variant == "toon_512":
        vae = DualReferenceVAE(SMALL_TOON_VAE, device="meta").state_dict()
        found = {key: shape for key, shape in found.items() if not key.startswith(VAE)}
        found |= {VAE + key: tuple(tensor.shape) for key, tensor in vae.items()}
    return found


def state_dict(
    case_file: Path, variant: str, seed: int = 0, arch: UNetArch | None = None
) -> dict[str, Tensor]:
    """Every tensor, by original key name; `case_file`: the golden case that lends the encoders."""
    case: dict[str, Any] = json.loads(case_file.read_text(encoding="utf-8"))
    described: Variant = VARIANTS[variant]
    tensors = schedule_buffers(described.zero_terminal_snr, described.base_scale)
    for key, shape in shapes(arch or small_arch(variant), case["manifest"], variant).items():
        tensors[key] = torch.from_numpy(np.array(weight(key, shape, seed), dtype=np.float32))
    tensors[UNET + "out.2.weight"] *= OUTPUT_GAIN
    return tensors


def write(
    case_file: Path,
    path: Path,
    variant: str,
    *,
    seed: int = 0,
    edit: Edit | None = None,
    stated: bool = True,
) -> Path:
    """A safetensors checkpoint; `edit` may change the tensors before.

    stated: the file names its variant, as ours do and published ones do not.
    """
    tensors = state_dict(case_file, variant, seed)
    if edit is not None:
        edit(tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"dynamicrafter": json.dumps({"variant": variant})} if stated else None
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata)
    return path


def write_sketch_controlnet(path: Path, seed: int = 0) -> Path:
    """A sketch ControlNet for the small ToonCrafter, bare keys as published."""
    network = SketchControlNet(SMALL_SKETCH, device="meta").state_dict()
    tensors = {
        key: torch.from_numpy(np.array(weight(key, tuple(t.shape), seed), dtype=np.float32))
        for key, t in network.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path
