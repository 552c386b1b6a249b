"""Classifier-free guidance with one scale or two, and guidance rescale.

All act on network outputs or on clean latents alike: both are linear in each other at a given
state. `rescale_guidance` is published for network outputs.
"""

import torch
from torch import Tensor


def classifier_free(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """`uncond + scale * (cond - uncond)`, of any one shape. Source: Ho and Salimans 2022."""
    return uncond + scale * (cond - uncond)


def two_scale(
    cond: Tensor, image_only: Tensor, uncond: Tensor, cfg: float, image_cfg: float
) -> Tensor:
    """Guidance with a scale for the text, `cfg`, and one for the image, `image_cfg`.

    cond, uncond: predictions of one shape, under both conditions and under none.
    image_only: the prediction under the empty text, the real image's tokens and the same
        concatenated latents.
    Source: DynamiCrafter paper, section 4.1; `DDIMSampler` with multiple conditions.
    """
    return uncond + image_cfg * (image_only - uncond) + cfg * (cond - image_only)


def rescale_guidance(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    """Pull the spread of each guided video back to that of its conditional prediction.

    guided, cond: `[B, C, T, H, W]`; one unbiased standard deviation per video, over all other axes.
    phi: 0 leaves `guided` as it is, 1 restores the conditional spread fully.
    Source: Lin et al. 2023, section 3.4.
    """
    axes = list(range(1, guided.ndim))
    spread = guided.std(dim=axes, keepdim=True)
    ratio = cond.std(dim=axes, keepdim=True) / spread
    # A constant prediction has no spread to restore.
    ratio = torch.where(spread > 0, ratio, torch.ones_like(ratio))
    return phi * (guided * ratio) + (1 - phi) * guided
