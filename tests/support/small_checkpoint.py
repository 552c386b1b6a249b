"""Writes whole checkpoints that run in seconds: the golden cases', and others of their layouts.

Every weight is a pure function of its key, its shape and a seed, so the repository holds key lists
only. NumPy's legacy generator is frozen, which keeps the numbers stable. A golden checkpoint is the
one that its case ran with. In a small one, the U-Net and its number of frames are scaled down for
runs of well below a second; its other parts are a golden one's. The least one samples just so.
"""

import json
import zlib
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from small_archs import small_unet
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

SMALL = small_unet(context_dim=128)
# As narrow as a ControlNet of the SD 2 layout can be: its heads are 64 wide.
WIDE = SMALL._replace(model_channels=64, head_dim=32)
# One level: more of them are the same layers over again.
LEAST = SMALL._replace(channel_mult=(1,), attention_levels=(True,), head_dim=32)

SMALL_TOON_VAE = DualReferenceArch(
    base_channels=32, channel_mult=(1, 2, 2, 2), num_res_blocks=1, fusion_head_dim=8
)

SMALL_SKETCH = SketchControlArch(
    model_channels=WIDE.model_channels,
    channel_mult=WIDE.channel_mult,
    num_res_blocks=WIDE.num_res_blocks,
    attention_levels=WIDE.attention_levels,
    context_dim=WIDE.context_dim,
)

# Rows of image tokens where they are not FRAMES times 16.
SHARED_OR_PUBLISHED_LATENTS = {"videocrafter1_i2v": 16, "viewcrafter_25": 25 * 16}

UNET_PROJECTOR_VAE = ("model.diffusion_model.", "image_proj_model.", "first_stage_model.")

Edit = Callable[[dict[str, Tensor]], None]


def weight(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The weight that belongs to a key."""
    random = np.random.RandomState((zlib.crc32(key.encode()) ^ seed) & 0xFFFFFFFF)
    values = random.standard_normal(int(np.prod(shape))).astype(np.float32).reshape(shape)
    if not shape:
        return values * np.float32(0.5)
    if len(shape) == 1:
        return 1 + 0.1 * values if key.endswith("weight") else 0.1 * values
    if "embedding" in key or key.endswith(("latents", ".proj")):
        return 0.3 * values
    return values / np.sqrt(np.prod(shape[1:]))


def drawn(shapes: Iterable[tuple[str, Iterable[int]]], seed: int) -> dict[str, Tensor]:
    """The weights of these keys and shapes, some in float64."""
    return {key: _drawn(key, tuple(shape), seed).clone() for key, shape in shapes}


# Drawing takes longer than all else that a small file needs; most files share their weights. As
# many as six of them have.
@lru_cache(maxsize=5000)
def _drawn(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.from_numpy(np.array(weight(key, shape, seed)))


def schedule_buffers(zero_snr: bool, base_scale: float | None) -> dict[str, Tensor]:
    """The two buffers that decide a schedule; loaders need no other."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    if zero_snr:
        root = np.sqrt(np.cumprod(1 - betas))
        bar = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
        betas = 1 - np.concatenate([bar[:1], bar[1:] / bar[:-1]])
    buffers = {"alphas_cumprod": np.cumprod(1 - betas), "betas": betas}
    if base_scale is not None:
        buffers["scale_arr"] = np.concatenate(
            [np.linspace(1.0, base_scale, 400), np.full(1000, base_scale)]
        )
    return {k: torch.from_numpy(v.astype(np.float32)) for k, v in buffers.items()}


def golden_tensors(case_file: Path) -> dict[str, Tensor]:
    """Every tensor of a golden case's checkpoint, by original key name."""
    case: dict[str, Any] = json.loads(case_file.read_text(encoding="utf-8"))
    params = case["config"]["params"]
    base_scale = params["base_scale"] if params.get("use_dynamic_rescale") else None
    buffers = schedule_buffers(bool(params.get("rescale_betas_zero_snr")), base_scale)
    shapes = [item for item in case["manifest"].items() if item[0] not in case["buffers"]]
    return buffers | drawn(shapes, case["case"]["weight_seed"])


def write_golden(
    case_file: Path, path: Path, *, prune: bool = False, published_256: bool = False
) -> Path:
    """A checkpoint as safetensors or, by its suffix, as a pickled `{"state_dict": ...}`.

    prune: U-Net, query transformer and VAE only, no buffers. published_256: the published name of
    the speed embedding.
    """
    tensors = golden_tensors(case_file)
    if prune:
        tensors = {k: v for k, v in tensors.items() if k.startswith(UNET_PROJECTOR_VAE)}
    if published_256:
        tensors = {k.replace("fps_embedding", "framestride_embed"): v for k, v in tensors.items()}
    if path.suffix == ".safetensors":
        return save(tensors, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": tensors}, path)
    return path


def save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Writes a safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata)
    return path


def small_arch(variant: str, *, wide: bool = False) -> UNetArch:
    """Dimensions of the small U-Net of a variant; ToonCrafter's is wide, for its sketches."""
    text_to_video = variant.startswith("videocrafter") and variant != "videocrafter1_i2v"
    first = variant.startswith("videocrafter1")
    base = WIDE if wide or variant == "toon_512" else SMALL
    return base._replace(
        in_channels=4 if variant.startswith("videocrafter") else 8,
        learnable_image_scale=variant == "256",
        image_cross_attention=not text_to_video,
        relative_position=first and text_to_video,
        temporal_conv=not (first and text_to_video),
        speed_condition=variant != "videocrafter1_512",
    )


@cache
def _unet_shapes(arch: UNetArch) -> dict[str, tuple[int, ...]]:
    unet = DynamiCrafterUNet(arch, device="meta").state_dict()
    return {key: tuple(tensor.shape) for key, tensor in unet.items()}


def shapes(
    arch: UNetArch, manifest: dict[str, list[int]], variant: str
) -> dict[str, tuple[int, ...]]:
    """Key -> shape of the whole file."""
    found = {UNET + key: shape for key, shape in _unet_shapes(arch).items()}
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
    found = shapes(arch or small_arch(variant), case["manifest"], variant)
    tensors |= {key: value.float() for key, value in drawn(found.items(), seed).items()}
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
    wide: bool = False,
) -> Path:
    """A safetensors checkpoint; `edit` may change the tensors before.

    stated: the file names its variant, as ours do and published ones do not.
    """
    tensors = state_dict(case_file, variant, seed, small_arch(variant, wide=wide))
    if edit is not None:
        edit(tensors)
    metadata = {"dynamicrafter": json.dumps({"variant": variant})} if stated else None
    return save(tensors, path, metadata)


def write_sketch_controlnet(path: Path, seed: int = 0) -> Path:
    """A sketch ControlNet for the small ToonCrafter, bare keys as published."""
    network = SketchControlNet(SMALL_SKETCH, device="meta").state_dict()
    tensors = drawn(((key, t.shape) for key, t in network.items()), seed)
    return save({key: value.float() for key, value in tensors.items()}, path)
