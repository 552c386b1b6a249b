"""Checkpoint files: unwrap, rename, split into the five parts.

Source: docs/method.md#checkpoint-layouts.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..shown import shown
from ..variants import Evidence, Shapes
from .errors import CheckpointError
from .foreign import FIRST_CONV, Header, check_family, some

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model."
VISION_PREFIX = "embedder."
PROJECTOR_PREFIX = "image_proj_model."
# Attributes of `CheckpointParts`, their keys' prefixes, and their names in messages.
ENCODERS = (
    ("vae", VAE_PREFIX, "VAE"),
    ("text_encoder", TEXT_PREFIX, "text encoder"),
    ("image_encoder", VISION_PREFIX, "image encoder"),
)
PARTS = (
    *ENCODERS,
    ("unet", UNET_PREFIX, "U-Net"),
    ("projector", PROJECTOR_PREFIX, "query transformer"),
)

# DeepSpeed engines put this before every key.
DEEPSPEED_PREFIX = "_forward_module."
# What wraps a model for training puts one before every key, from the outermost inwards: DeepSpeed,
# data parallelism and compilation, in either order.
WRAPPER_PREFIXES = (DEEPSPEED_PREFIX, "_orig_mod.", "module.", "_orig_mod.")
# Where trainers' files keep their tensors, from the outermost inwards.
WRAPPERS = ("module", "state_dict", "model")

# The published 256 file stores the speed embedding under this name.
RENAMES = (("framestride_embed", "fps_embedding"),)

# A saved checkpoint names its variant by this tensor (ASCII codes).
VARIANT_BUFFER = "dynamicrafter_variant"
SCHEDULE_BUFFERS = ("alphas_cumprod", "scale_arr")

StateDict = dict[str, Tensor]

# Types that a weight may have.
FLOATING = frozenset(
    {
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
    }
)
# Counters that text encoders carry; nothing reads them.
COUNTERS = ("position_ids",)


class CheckpointParts:
    """A checkpoint by parts, keys without their prefixes; a part that a file lacks is empty."""

    def __init__(self) -> None:
        self.unet: StateDict = {}
        self.vae: StateDict = {}
        self.text_encoder: StateDict = {}
        self.image_encoder: StateDict = {}
        self.projector: StateDict = {}
        self.buffers: StateDict = {}
        self.other: StateDict = {}

    def evidence(self) -> Evidence:
        """What `detect_variant` looks at."""
        latents = self.projector.get("latents")
        vae_keys = frozenset(VAE_PREFIX + k for k in self.vae)
        return Evidence(
            unet=shapes(self.unet),
            other_keys=vae_keys | frozenset(self.other),
            projector_latents=None if latents is None or latents.ndim < 2 else latents.shape[1],
            base_scale=_last(self.buffers.get("scale_arr")),
        )


def shapes(state_dict: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Key -> shape."""
    return {k: tuple(v.shape) for k, v in state_dict.items()}


def _last(buffer: Tensor | None) -> float | None:
    return None if buffer is None or buffer.numel() == 0 else float(buffer.flatten()[-1])


def unwrap(loaded: Any) -> StateDict:
    """The state dict inside a trainer's file (`state_dict`, `model`, or DeepSpeed's `module`).

    loaded: whatever the file holds; values that are not tensors are dropped. Raises CheckpointError
    when no tensor is left.
    """
    if not isinstance(loaded, Mapping):
        raise CheckpointError(
            f"It holds a {shown(type(loaded).__name__)}, not the tensors of a checkpoint by name: "
            "choose another file."
        )
    inner = loaded
    for wrapper in WRAPPERS:
        if isinstance(inner.get(wrapper), Mapping):
            inner = inner[wrapper]
    tensors = {k: v for k, v in inner.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"The file holds no tensors (its top level: {some(loaded)}): choose a checkpoint."
        )
    return tensors


def rename(key: str) -> str:
    """A key in the spelling that this package uses."""
    for prefix in WRAPPER_PREFIXES:
        key = key.removeprefix(prefix)
    for old, new in RENAMES:
        key = key.replace(old, new)
    return key


def split_checkpoint(state_dict: Mapping[str, Tensor]) -> CheckpointParts:
    """Split a flat state dict into its parts.

    A file without `model.diffusion_model.` prefixes counts as a U-Net alone. Raises CheckpointError
    when the file is of another family (`refuse_foreign`), or when two keys mean the same tensor.
    """
    refuse_foreign(shapes(state_dict))
    parts = parts_by_prefix(state_dict)
    if not parts.unet:
        parts.unet, parts.other = parts.other, {}
    for part, _, name in PARTS:
        require_floating(getattr(parts, part), name)
    schedule = {key: parts.buffers[key] for key in SCHEDULE_BUFFERS if key in parts.buffers}
    require_floating(schedule, "noise schedule")
    # A mapped file may change under the schedule, which is read in every run.
    parts.buffers |= {key: buffer.clone() for key, buffer in schedule.items()}
    return parts


def parts_by_prefix(state_dict: Mapping[str, Tensor]) -> CheckpointParts:
    """The parts that the keys' prefixes name, of a file of any family and with tensors of any type.

    Raises CheckpointError when two keys mean the same tensor.
    """
    parts = CheckpointParts()
    for original, tensor in state_dict.items():
        key = rename(original)
        rest = ("other" if "." in key else "buffers", "")
        part, prefix = next(((part, p) for part, p, _ in PARTS if key.startswith(p)), rest)
        target, name = getattr(parts, part), key.removeprefix(prefix)
        if name in target:
            raise CheckpointError(
                f"The file holds {shown(original)} twice, under two spellings; download it again, "
                "or from another source."
            )
        target[name] = tensor
    return parts


def require_floating(tensors: Mapping[str, Tensor], part: str) -> None:
    """Raise CheckpointError when a weight is of integers, booleans or complex numbers."""
    for key, tensor in tensors.items():
        if tensor.dtype not in FLOATING and not key.endswith(COUNTERS):
            raise CheckpointError(
                f"The file's {part} has {shown(key)} of type {tensor.dtype}, and weights are "
                "floating numbers (fp32, fp16, bf16, fp64 or fp8): the file is damaged or "
                "quantized; choose one of these types."
            )


def refuse_foreign(header: Shapes) -> None:
    """Raise CheckpointError when a file's keys and shapes are not those of this family.

    header: key -> shape in any of the layouts that `unwrap` returns. The message names what the
    file is and what to use instead. Reads no tensor.
    """
    found = {rename(k): shape for k, shape in header.items()}
    unet = {k.removeprefix(UNET_PREFIX): s for k, s in found.items() if k.startswith(UNET_PREFIX)}
    if not unet and FIRST_CONV in found:
        prefixes = tuple(prefix for _, prefix, _ in PARTS)
        unet = {k: s for k, s in found.items() if "." in k and not k.startswith(prefixes)}
    check_family(Header(found, unet))


def encode_variant(name: str) -> Tensor:
    """A variant's name as a tensor, for savers that write no metadata of ours."""
    return torch.tensor(list(name.encode("ascii")), dtype=torch.uint8)


def stated_variant(buffers: Mapping[str, Tensor]) -> str | None:
    """The variant that a saved file names by a tensor, or None."""
    marker = buffers.get(VARIANT_BUFFER)
    if marker is None or marker.dtype != torch.uint8 or marker.numel() > 64:
        return None
    return bytes(marker.flatten().tolist()).decode("ascii", "replace")
