"""The checkpoint's own text encoder, image encoder, VAE and query transformer, as host objects.

The host builds these for the published sizes only. Here sizes come from tensor shapes, and
scaled-down checkpoints load through the same code.
"""

import json
import logging
import math
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models
import comfy.utils
import folder_paths
import torch
from torch import nn

from ...dc_model.checkpoint.detect import count_heads
from ...dc_model.checkpoint.errors import CheckpointError, fitting
from ...dc_model.checkpoint.layout import StateDict, shapes
from ...dc_model.projection import Resampler, detect_projection_arch
from ...dc_model.shown import shown
from ...dc_model.variants import MAX_LAYERS, has_dual_reference
from .protocols import VAE, Clip, ClipVision, Patcher
from .toon_vae import ToonVAE

logger = logging.getLogger(__name__)

# What the towers have, and no video needs.
_UNUSED = ("logit_scale", "text_projection", "text_projection.weight", "position_ids")


def core_patcher(
    model: nn.Module, load_device: torch.device, offload_device: torch.device, disable_dynamic: bool
) -> Patcher:
    """The host's current patcher class, chosen when the server starts."""
    patchers = comfy.model_patcher
    patcher_class = patchers.ModelPatcher if disable_dynamic else patchers.CoreModelPatcher
    return patcher_class(model, load_device=load_device, offload_device=offload_device)


@fitting("text encoder")
def load_text_encoder(
    state_dict: StateDict, head_dim: int = 64, disable_dynamic: bool = False
) -> Clip | None:
    """CLIP from open_clip text keys (`model.` prefix), or None for an empty part."""
    if not state_dict:
        return None
    prefixed = {f"cond_stage_model.{k}": v for k, v in state_dict.items()}
    config = comfy.supported_models.SD20({})
    converted = config.process_clip_state_dict(prefixed)
    width = state_dict["model.ln_final.weight"].shape[0]
    options = {
        "clip_h_model_config": {
            "hidden_size": width,
            "num_attention_heads": count_heads(width, head_dim),
            "intermediate_size": state_dict["model.transformer.resblocks.0.mlp.c_fc.weight"].shape[
                0
            ],
            "num_hidden_layers": _count_layers(state_dict, "model.transformer.resblocks."),
        }
    }
    clip = comfy.sd.CLIP(
        config.clip_target(converted),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        tokenizer_data=converted,
        parameters=comfy.utils.calculate_parameters(converted),
        state_dict=converted,
        model_options=options,
        disable_dynamic=disable_dynamic,
    )
    _require_whole("text encoder", clip.cond_stage_model.state_dict().keys() - converted.keys())
    return clip


@fitting("image encoder")
def load_image_encoder(state_dict: StateDict, head_dim: int = 80) -> ClipVision | None:
    """CLIP_VISION from open_clip image keys (`model.visual.` prefix), or None for an empty part."""
    prefix = "model.visual."
    visual = {k: v for k, v in state_dict.items() if k.startswith(prefix)}
    if not visual:
        return None
    config = _vision_config(visual, prefix, head_dim)
    converted = comfy.clip_vision.convert_to_transformers(dict(visual), prefix)
    encoder = _clip_vision_model(config)
    missing, _ = encoder.load_sd(converted)
    _require_whole("image encoder", missing)
    return encoder


def _require_whole(part: str, missing: Iterable[str]) -> None:
    """Raise CheckpointError where tensors are missing, which the host leaves as memory had them."""
    needed = sorted(key for key in missing if not key.endswith(_UNUSED))
    if needed:
        raise CheckpointError(
            f"The file's {part} lacks {len(needed)} of its tensors, first {shown(needed[0])}; "
            f"download the checkpoint again, or choose one without {part}."
        )


def _vision_config(visual: StateDict, prefix: str, head_dim: int) -> dict[str, object]:
    patch = visual[prefix + "conv1.weight"]
    if patch.ndim != 4:
        raise ValueError(f"conv1.weight has shape {list(patch.shape)}")
    width, patch_size = patch.shape[0], patch.shape[-1]
    patches = visual[prefix + "positional_embedding"].shape[0] - 1
    return {
        "model_type": "clip_vision_model",
        "hidden_act": "gelu",
        "hidden_size": width,
        "image_size": math.isqrt(patches) * patch_size,
        "intermediate_size": visual[prefix + "transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        "num_attention_heads": count_heads(width, head_dim),
        "num_channels": 3,
        "num_hidden_layers": _count_layers(visual, prefix + "transformer.resblocks."),
        "patch_size": patch_size,
        "projection_dim": visual[prefix + "proj"].shape[1],
    }


def _clip_vision_model(config: dict[str, object]) -> Any:
    # ComfyUI before 0.19 reads the config from a file only.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        return comfy.clip_vision.ClipVisionModel(str(path))


@fitting("VAE")
def load_vae(state_dict: StateDict) -> VAE | None:
    """VAE of Stable Diffusion's layout or of ToonCrafter's, or None for an empty part."""
    if not state_dict:
        return None
    if has_dual_reference(state_dict):
        return ToonVAE(state_dict)
    try:
        config = _vae_config(shapes(state_dict))
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"The file's VAE has an unknown layout ({shown(error)}); choose a checkpoint with "
            "Stable Diffusion's VAE, or one without."
        ) from error
    vae = comfy.sd.VAE(sd=dict(state_dict), config=config)
    _require_whole("VAE", vae.first_stage_model.state_dict().keys() - state_dict.keys())
    return vae


def _vae_config(shape: dict[str, tuple[int, ...]]) -> dict[str, object]:
    levels = _count_layers(shape, "encoder.down.")
    base = shape["encoder.conv_in.weight"][0]
    widths = [shape[f"encoder.down.{i}.block.0.conv2.weight"][0] for i in range(levels)]
    z_channels = shape["decoder.conv_in.weight"][1]
    ddconfig = {
        "double_z": True,
        "z_channels": z_channels,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": base,
        "ch_mult": [width // base for width in widths],
        "num_res_blocks": _count_layers(shape, "encoder.down.0.block."),
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    return {"params": {"embed_dim": shape["post_quant_conv.weight"][1], "ddconfig": ddconfig}}


def load_projector(
    state_dict: StateDict, head_dim: int = 64, disable_dynamic: bool = False
) -> Patcher | None:
    """Patcher of the query transformer, or None for an empty part."""
    if not state_dict:
        return None
    try:
        arch = detect_projection_arch(shapes(state_dict), head_dim)
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"The file's query transformer has an unknown layout ({shown(error)}); choose a "
            "checkpoint whose `image_proj_model` is DynamiCrafter's."
        ) from error
    load_device = comfy.model_management.text_encoder_device()
    offload_device = comfy.model_management.text_encoder_offload_device()
    dtype = comfy.model_management.text_encoder_dtype(load_device)
    with torch.device("meta"):
        model = Resampler(arch, operations=comfy.ops.manual_cast, dtype=dtype)
    tensors = {k: v.to(offload_device, dtype, copy=True) for k, v in state_dict.items()}
    load_strictly(model, tensors, "query transformer")
    model.requires_grad_(False).eval()
    return core_patcher(model, load_device, offload_device, disable_dynamic)


def load_strictly(model: torch.nn.Module, tensors: StateDict, part: str) -> None:
    """Put `tensors` into `model`; CheckpointError names the first that is missing or wrong."""
    with fitting(part):
        missing, unexpected = model.load_state_dict(tensors, strict=False, assign=True)
    if missing or unexpected:
        first = f"missing {missing[0]}" if missing else f"unknown {shown(unexpected[0])}"
        raise CheckpointError(
            f"The {part} does not fit: {len(missing)} tensors missing, {len(unexpected)} unknown "
            f"(first: {first}); the file is damaged or of another model: download it again."
        )


def _count_layers(state_dict: Mapping[str, object], prefix: str) -> int:
    """Layers under `prefix`; ValueError when their numbers have gaps or are too many to build."""
    numbers = {
        int(k.removeprefix(prefix).split(".")[0]) for k in state_dict if k.startswith(prefix)
    }
    if len(numbers) > MAX_LAYERS:
        raise ValueError(f"it has {len(numbers)} layers, more than {MAX_LAYERS}")
    if numbers != set(range(len(numbers))):
        raise ValueError(f"its layers are numbered {sorted(numbers)}")
    return len(numbers)
