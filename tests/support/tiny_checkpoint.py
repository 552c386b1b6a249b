"""Writes the tiny checkpoints that the golden pipeline cases ran with.

Every weight is a pure function of its key, its shape and the case's seed, so the repository
holds key lists only. NumPy's legacy generator is frozen, which keeps the numbers stable.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

UNET_PROJECTOR_VAE = ("model.diffusion_model.", "image_proj_model.", "first_stage_model.")


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


def state_dict(case_file: Path) -> dict[str, Tensor]:
    """Every tensor of a case's checkpoint, original key names."""
    case: dict[str, Any] = json.loads(case_file.read_text(encoding="utf-8"))
    params = case["config"]["params"]
    base_scale = params["base_scale"] if params.get("use_dynamic_rescale") else None
    tensors = schedule_buffers(bool(params.get("rescale_betas_zero_snr")), base_scale)
    seed = case["case"]["weight_seed"]
    for key, shape in case["manifest"].items():
        if key not in case["buffers"]:
            tensors[key] = torch.from_numpy(np.asarray(weight(key, tuple(shape), seed)).copy())
    return tensors


def write(case_file: Path, path: Path, *, prune: bool = False, published_256: bool = False) -> Path:
    """A checkpoint as safetensors or, by its suffix, as a pickled `{"state_dict": ...}`.

    prune: U-Net, query transformer and VAE only, no buffers. published_256: the published name of
    the speed embedding.
    """
    tensors = state_dict(case_file)
    if prune:
        tensors = {k: v for k, v in tensors.items() if k.startswith(UNET_PROJECTOR_VAE)}
    if published_256:
        tensors = {k.replace("fps_embedding", "framestride_embed"): v for k, v in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    else:
        torch.save({"state_dict": tensors}, path)
    return path
