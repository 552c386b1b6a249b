"""Pictures of any size on their way into the model; the user's cancel is answered meanwhile.

A phone's photograph has 48 million pixels, and a batch holds many.
"""

from collections.abc import Callable

import comfy.model_management
import torch
from torch import Tensor

from ...dc_model.preprocess import Fit, clip_squash, fit_image, square_image


def fit_pictures(images: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    """`fit_image`, one plane after another: `[B, C, H, W]` to `[B, C, height, width]`."""
    return _by_planes(images, lambda plane: fit_image(plane, height, width, fit))


def squash_pictures(images: Tensor, fit: Fit) -> Tensor:
    """CLIP's size, one plane after another: `[B, C, H, W]` to `[B, C, 224, 224]`."""
    stop = comfy.model_management.throw_exception_if_processing_interrupted
    return _by_planes(images, lambda plane: clip_squash(square_image(plane, fit), stop))


def _by_planes(images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function` of each `[1, 1, H, W]`."""
    made = []
    for image in images.split(1):
        for plane in image.split(1, dim=1):
            comfy.model_management.throw_exception_if_processing_interrupted()
            made.append(function(plane))
    return torch.cat(made).unflatten(0, images.shape[:2]).squeeze(2)
