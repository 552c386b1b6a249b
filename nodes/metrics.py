"""What the metrics' nodes have in common."""

from collections.abc import Callable

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from .checks import InputError

# Memory to have free for a network that the host does not manage.
ROOM = 4 * 2**30


def claim_device() -> torch.device:
    """A device with room for a network that the host does not manage.

    The host's own where TorchScript and 3D convolutions run on it, else the CPU.
    """
    device = comfy.model_management.get_torch_device()
    if device.type != "cuda":
        return torch.device("cpu")
    comfy.model_management.free_memory(ROOM, device)
    return device


def watched(function: Callable[..., Tensor], total: int) -> Callable[..., Tensor]:
    """`function` with progress over `total` rows of its results, stopped by the user's cancel."""
    progress = comfy.utils.ProgressBar(total)

    def call(*args: Tensor) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        result = function(*args)
        progress.update(len(result))
        return result

    return call


def to_videos(images: Tensor, frames: int, name: str) -> Tensor:
    """`[N*T, H, W, 3]` to `[N, T, 3, H, W]` in [0, 1]; InputError when T does not divide."""
    rows = images.shape[0]
    if rows % frames:
        raise InputError(
            f"{name} has {rows} images, which are not a whole number of clips of {frames} frames; "
            "set num_frames to the frames of one clip."
        )
    return images.float().clamp(0, 1).movedim(-1, 1).unflatten(0, (-1, frames))
