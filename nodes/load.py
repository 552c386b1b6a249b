"""Load DynamiCrafter Checkpoint: one file to MODEL, CLIP, VAE, CLIP_VISION and projector."""

import logging
import os
from typing import NamedTuple

import comfy.model_management
import comfy.patcher_extension
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io
from torch import Tensor

from ..dc_model.checkpoint.detect import detect_unet_arch
from ..dc_model.checkpoint.errors import CheckpointError, naming
from ..dc_model.checkpoint.layout import CheckpointParts, StateDict
from ..dc_model.identify import Identified, identify
from ..dc_model.shown import shown
from ..dc_model.variants import VARIANTS
from .checks import REMEDIES, InputError
from .door import checked
from .host.bare_parameters import patch_on_load
from .host.encoders import (
    core_patcher,
    load_image_encoder,
    load_projector,
    load_strictly,
    load_text_encoder,
    load_vae,
)
from .host.files import read_family_file
from .host.followed_reference import follow_reference
from .host.foreign_nodes import check_conditions
from .host.held_frames import hold_frames
from .host.model import DynamiCrafterConfig, DynamiCrafterModel
from .host.protocols import VAE, Clip, ClipVision, Model, Patcher
from .host.window_hints import WRAPPER_KEY, slice_hints
from .host.windows import check_overlap
from .inputs import CATEGORY, Projector

logger = logging.getLogger(__name__)

FOLDERS = ("checkpoints", "diffusion_models")

WEIGHT_DTYPES: dict[str, torch.dtype | None] = {
    "default": None,
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e4m3fn_fast": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


class Loaded(NamedTuple):
    """Host objects of one checkpoint; a part that the file lacks is None."""

    model: Model
    clip: Clip | None
    vae: VAE | None
    clip_vision: ClipVision | None
    projector: Patcher | None


def checkpoint_names() -> list[str]:
    """Files that the loader offers, checkpoints first, no name twice."""
    names = [name for folder in FOLDERS for name in folder_paths.get_filename_list(folder)]
    return list(dict.fromkeys(names))


def checkpoint_path(name: str) -> str:
    """Where `name` lies inside the model folders; InputError when it does not."""
    for folder in FOLDERS:
        if name in folder_paths.get_filename_list(folder):
            path = folder_paths.get_full_path(folder, name)
            if path is not None:
                return path
    raise InputError(
        f"There is no checkpoint {shown(name)}; put it into models/checkpoints and refresh the "
        "list."
    )


def load_checkpoint(
    path: str, variant: str = "auto", weight_dtype: str = "default", disable_dynamic: bool = False
) -> Loaded:
    """Read a checkpoint file into host objects.

    Raises CheckpointError, which names the file, when it cannot be read, is not of this family, or
    its variant cannot be detected.
    """
    file = shown(os.path.basename(path))
    with naming(path):
        content = read_family_file(path)
        found = identify(content, variant, _below_model_folder(path))
        del content
        for note in found.notes:
            logger.warning("%s: %s", file, note)
        loaded = _load_parts(found, weight_dtype, disable_dynamic)
    origin = (path, variant, weight_dtype)
    loaded.model.cached_patcher_init = (load_checkpoint, origin, 0)
    for part in ("clip", "vae", "clip_vision"):
        if getattr(loaded, part) is not None:
            getattr(loaded, part).patcher.cached_patcher_init = (load_patcher, (part, *origin))
    _log(loaded, found.variant, file)
    return loaded


def load_patcher(part: str, *origin: str, disable_dynamic: bool = False) -> Patcher:
    """The patcher of one part, read again: how the host copies it to another device."""
    return getattr(load_checkpoint(*origin, disable_dynamic=disable_dynamic), part).patcher


def _load_parts(found: Identified, weight_dtype: str, disable_dynamic: bool) -> Loaded:
    parts, heads = found.parts, found.heads
    projector = load_projector(parts.projector, heads.projector, disable_dynamic)
    arch = detect_unet_arch(parts.evidence().unet, heads.unet)
    config = DynamiCrafterConfig(arch, found.variant, VARIANTS[found.variant], found.schedule)
    model = _load_model(parts, config, weight_dtype, disable_dynamic)
    model.model.projector = projector
    return Loaded(
        model,
        load_text_encoder(parts.text_encoder, heads.text_encoder, disable_dynamic),
        load_vae(parts.vae),
        load_image_encoder(parts.image_encoder, heads.image_encoder),
        projector,
    )


def _below_model_folder(path: str) -> str:
    """A file's path below the model folder that it lies in; only those folders are the user's."""
    roots = [root for folder in FOLDERS for root in folder_paths.get_folder_paths(folder)]
    inside = (os.path.relpath(path, root) for root in roots if _lies_in(path, root))
    return min(inside, key=len, default=os.path.basename(path))


def _lies_in(path: str, root: str) -> bool:
    return os.path.abspath(path).startswith(os.path.join(os.path.abspath(root), ""))


def _load_model(
    parts: CheckpointParts, config: DynamiCrafterConfig, weight_dtype: str, disable_dynamic: bool
) -> Model:
    parameters = comfy.utils.calculate_parameters(parts.unet)
    load_device = comfy.model_management.get_torch_device()
    dtype = WEIGHT_DTYPES[weight_dtype] or comfy.model_management.unet_dtype(
        model_params=parameters,
        supported_dtypes=list(config.supported_inference_dtypes),
        weight_dtype=comfy.utils.weight_dtype(parts.unet),
    )
    manual_cast = comfy.model_management.unet_manual_cast(
        dtype, load_device, config.supported_inference_dtypes
    )
    config.set_inference_dtype(dtype, manual_cast)
    config.optimizations["fp8"] = weight_dtype == "fp8_e4m3fn_fast"
    device = comfy.model_management.unet_inital_load_device(parameters, dtype)
    model = config.get_model(parts.unet, device=device)
    offload = comfy.model_management.unet_offload_device()
    patcher = core_patcher(model, load_device, offload, disable_dynamic)
    kinds = comfy.patcher_extension.WrappersMP
    patcher.add_wrapper_with_key(kinds.CALC_COND_BATCH, WRAPPER_KEY, slice_hints)
    patcher.add_wrapper_with_key(kinds.PREPARE_SAMPLING, WRAPPER_KEY, check_overlap)
    patcher.add_wrapper_with_key(kinds.PREPARE_SAMPLING, WRAPPER_KEY, check_conditions)
    # From the outside in: what is held wins over what is followed.
    for wrapper in (hold_frames, follow_reference):
        patcher.add_wrapper_with_key(kinds.SAMPLER_SAMPLE, WRAPPER_KEY, wrapper)
    patch_on_load(patcher)
    # DynamicVRAM reads the file's own tensors when it needs them.
    _load_unet(model, parts.unet, None if patcher.is_dynamic() else (device, dtype))
    if device != torch.device("cpu"):
        comfy.model_management.load_models_gpu([patcher], force_full_load=True)
    return patcher


def _load_unet(
    model: DynamiCrafterModel, tensors: StateDict, place: tuple[torch.device, torch.dtype] | None
) -> None:
    """Hand the weights over and empty `tensors`; a missing or extra one is an error.

    place: where and how the model wants them; None = as they are.
    """
    if place is not None:
        for key, tensor in tensors.items():
            tensors[key] = _placed(tensor, *place)
    load_strictly(model.diffusion_model, tensors, "U-Net")
    tensors.clear()


def _placed(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """`tensor` as the model wants it: a copy, as the host's own loaders make, because a file that
    is written over takes its mapped tensors with it."""
    if dtype.itemsize == 1 and tensor.ndim < 2:
        dtype = tensor.dtype  # norms and biases cost nothing and suffer from 8 bits
    return tensor.to(device=device, dtype=dtype, copy=True)


def _log(loaded: Loaded, variant: str, file: str) -> None:
    logger.info("%s: DynamiCrafter variant %s.", file, variant)
    found = {
        "CLIP": loaded.clip,
        "VAE": loaded.vae,
        "CLIP_VISION": loaded.clip_vision,
        "projector": loaded.projector,
    }
    needless = () if loaded.model.model.arch.image_cross_attention else ("CLIP_VISION", "projector")
    for part, value in found.items():
        if value is None:
            remedy = "this model attends to no image" if part in needless else REMEDIES[part]
            logger.info("%s has no %s: %s.", file, part, remedy)


class CheckpointLoader(io.ComfyNode):
    """Loads one file of the family into its five parts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterCheckpointLoader",
            display_name="Load DynamiCrafter Checkpoint",
            search_aliases=[
                "dynamicrafter",
                "tooncrafter",
                "viewcrafter",
                "videocrafter",
                "load checkpoint",
                "load model",
            ],
            category=f"{CATEGORY}/loaders",
            description="Loads a DynamiCrafter, ToonCrafter, ViewCrafter or VideoCrafter "
            "checkpoint. If the file lacks a part, its output is empty and the log names what to "
            "load instead.",
            inputs=[
                io.Combo.Input(
                    "ckpt_name",
                    options=checkpoint_names(),
                    tooltip="A file in models/checkpoints or models/diffusion_models. Original "
                    "and pruned files work, as .ckpt or .safetensors.",
                ),
                io.Combo.Input(
                    "variant",
                    options=["auto", *VARIANTS],
                    default="auto",
                    tooltip="Which model the file holds. auto reads it from the file; choose it "
                    "yourself if the log says that it had to guess.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_DTYPES),
                    default="default",
                    tooltip="Precision of the U-Net's weights. default suits the card; fp8 takes "
                    "half the memory of 16 bits. fp8_e4m3fn_fast needs an RTX 40 series card or "
                    "newer.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                io.Clip.Output(display_name="clip"),
                io.Vae.Output(display_name="vae"),
                io.ClipVision.Output(display_name="clip_vision"),
                Projector.Output(display_name="projector"),
            ],
        )

    @classmethod
    @checked
    def execute(cls, ckpt_name: str, variant: str, weight_dtype: str) -> io.NodeOutput:
        return io.NodeOutput(*load_checkpoint(checkpoint_path(ckpt_name), variant, weight_dtype))


NODES = [CheckpointLoader]

__all__ = ["NODES", "CheckpointError", "CheckpointLoader", "Loaded", "load_checkpoint"]
