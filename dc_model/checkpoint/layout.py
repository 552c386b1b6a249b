"""Checkpoint files: unwrap, rename, split into the five parts.

Source: docs/method.md#checkpoint-layouts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .detect import CheckpointError, Evidence, Shapes
from .foreign import FIRST_CONV, Header, check_family, some

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model."
VISION_PREFIX = "embedder."
PROJECTOR_PREFIX = "image_proj_model."

# DeepSpeed engines put this before every key.
DEEPSPEED_PREFIX = "_forward_module."

# The published 256 file stores the speed embedding under this name.
RENAMES = (("framestride_embed", "fps_embedding"),)

# A saved checkpoint names its variant by this tensor (ASCII codes).
VARIANT_BUFFER = "dynamicrafter_variant"

StateDict = dict[str, Tensor]


@dataclass(slots=True)
class CheckpointParts:
    """A checkpoint by parts, keys without their prefixes; a part that a file lacks is empty."""

    unet: StateDict = field(default_factory=dict)
    vae: StateDict = field(default_factory=dict)
    text_encoder: StateDict = field(default_factory=dict)
    image_encoder: StateDict = field(default_factory=dict)
    projector: StateDict = field(default_factory=dict)
    buffers: StateDict = field(default_factory=dict)
    other: StateDict = field(default_factory=dict)

    def evidence(self) -> Evidence:
        """What `detect_variant` looks at."""
        latents = self.projector.get("latents")
        vae_keys = frozenset(VAE_PREFIX + k for k in self.vae)
        return Evidence(
            unet=shapes(self.unet),
            other_keys=vae_keys | frozenset(self.other),
            projector_latents=None if latents is None or latents.ndim < 2 else latents.shape[1],
            terminal_alpha=_last(self.buffers.get("alphas_cumprod")),
            base_scale=_last(self.buffers.get("scale_arr")),
        )


def shapes(state_dict: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Key -> shape."""
    return {k: tuple(v.shape) for k, v in state_dict.items()}


def _last(buffer: Tensor | None) -> float | None:
    return None if buffer is None or buffer.numel() == 0 else float(buffer.flatten()[-1])


def unwrap(loaded: Any) -> StateDict:
    """The state dict inside a trainer's file (`state_dict`, or DeepSpeed's `module`).

    loaded: whatever the file holds. Values that are no tensors are dropped. Raises CheckpointError
    when no tensor is left.
    """
    if not isinstance(loaded, Mapping):
        raise CheckpointError(
            f"It holds a {type(loaded).__name__}, not the tensors of a checkpoint by name."
        )
    inner = loaded
    for wrapper in ("module", "state_dict"):
        if isinstance(inner.get(wrapper), Mapping):
            inner = inner[wrapper]
    tensors = {k: v for k, v in inner.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"The file holds no tensors (its top level: {some(loaded)}); it is no checkpoint."
        )
    return tensors


def rename(key: str) -> str:
    """A key in the spelling that this package uses."""
    key = key.removeprefix(DEEPSPEED_PREFIX)
    for old, new in RENAMES:
        key = key.replace(old, new)
    return key


def split_checkpoint(state_dict: Mapping[str, Tensor]) -> CheckpointParts:
    """Split a flat state dict into its parts.

    A file without `model.diffusion_model.` prefixes counts as a U-Net alone. Raises CheckpointError
    when the file is of another family (`refuse_foreign`), or when two keys mean the same tensor.
    """
    refuse_foreign(shapes(state_dict))
    parts = CheckpointParts()
    targets = (
        (UNET_PREFIX, parts.unet),
        (VAE_PREFIX, parts.vae),
        (TEXT_PREFIX, parts.text_encoder),
        (VISION_PREFIX, parts.image_encoder),
        (PROJECTOR_PREFIX, parts.projector),
    )
    for original, tensor in state_dict.items():
        key = rename(original)
        prefix, target = next(((p, t) for p, t in targets if key.startswith(p)), ("", None))
        if target is None:
            target = parts.other if "." in key else parts.buffers
        name = key.removeprefix(prefix)
        if name in target:
            raise CheckpointError(f"The file holds {original} twice, under two spellings.")
        target[name] = tensor
    if not parts.unet:
        parts.unet, parts.other = parts.other, {}
    return parts


def refuse_foreign(header: Shapes) -> None:
    """Raise CheckpointError when a file's keys and shapes are not those of this family.

    header: key -> shape in any of the layouts that `unwrap` returns. The message names what the
    file is and what to use instead. Reads no tensor.
    """
    found = {rename(k): shape for k, shape in header.items()}
    unet = {k.removeprefix(UNET_PREFIX): s for k, s in found.items() if k.startswith(UNET_PREFIX)}
    if not unet and FIRST_CONV in found:
        parts = (VAE_PREFIX, TEXT_PREFIX, VISION_PREFIX, PROJECTOR_PREFIX)
        unet = {k: s for k, s in found.items() if "." in k and not k.startswith(parts)}
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
