"""Pictures of any size on their way into the model; the user's cancel is answered meanwhile.

A phone's photograph has 48 million pixels, and a batch holds many.
"""

from collections.abc import Callable

import comfy.model_management
import torch
from torch import Tensor

from ...dc_model.preprocess import Fit, clip_squash, fit_image, square_image


def fit_pictures(images: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    """`fit_image` of one picture after another: `[B, C, H, W]` to `[B, C, height, width]`."""
    return _one_by_one(images, lambda one: fit_image(one, height, width, fit))


def squash_pictures(images: Tensor, fit: Fit) -> Tensor:
    """CLIP's size of one picture after another: `[B, C, H, W]` to `[B, C, 224, 224]`."""
    stop = comfy.model_management.throw_exception_if_processing_interrupted
    return _one_by_one(images, lambda one: clip_squash(square_image(one, fit), stop))


def _one_by_one(images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    made = []
    for one in images.split(1):
        comfy.model_management.throw_exception_if_processing_interrupted()
        made.append(function(one))
    return torch.cat(made)
