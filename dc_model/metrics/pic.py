"""PIC, perceptual input conformity: how much a video still looks like its input image.

Source: DynamiCrafter paper, section 4.2; the published figures use DreamSim as the distance.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..shown import shown

# Two batches of images [B, 3, H, W] in [0, 1] -> distance [B], 0 for equal images.
PerceptualDistance = Callable[[Tensor, Tensor], Tensor]

DREAMSIM_SIZE = 224
WEIGHTS = "dreamsim_ensemble_checkpoint.zip"


class MissingDreamSim(ImportError):  # noqa: N818 - a package that is absent, not a fault
    """DreamSim or its weights are missing; the message says how to get them."""


@torch.no_grad()
def perceptual_input_conformity(
    image: Tensor, video: Tensor, distance: PerceptualDistance, batch_size: int = 8
) -> float:
    """Mean over frames of `1 - distance(image, frame)`.

    image: `[3, H, W]`; video: `[T, 3, H, W]`; both in [0, 1], of one size. batch_size: frames at
    once. Raises ValueError for other shapes.
    """
    if image.ndim != 3 or video.ndim != 4 or len(video) == 0 or image.shape != video.shape[1:]:
        raise ValueError(
            f"Found an image of shape {list(image.shape)} and a video of {list(video.shape)}; "
            "expected [3, H, W] and [T, 3, H, W]."
        )
    parts = [distance(image.expand(len(p), -1, -1, -1), p) for p in video.split(batch_size)]
    return float((1 - torch.cat(parts).double()).mean())


def pixel_distance(first: Tensor, second: Tensor) -> Tensor:
    """The mean absolute difference of two batches of images: `[B]`. Not perceptual."""
    return (first.float() - second.float()).abs().flatten(1).mean(dim=1)


def embedding_distance(embed: Callable[[Tensor], Tensor]) -> PerceptualDistance:
    """1 - the cosine of two embeddings. embed: `[B, 3, H, W]` in [0, 1] to `[B, D]`."""

    def distance(first: Tensor, second: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(embed(first).float(), embed(second).float(), dim=1)

    return distance


def dreamsim_distance(
    device: torch.device | str = "cpu", cache_folder: str = "./models"
) -> PerceptualDistance:
    """DreamSim's distance (its ensemble, the package's default) at its 224 px input.

    cache_folder: where the package keeps its weights, which it downloads on first use. Raises
    MissingDreamSim when the package is not installed or its weights cannot be had.
    """
    try:
        # Optional, and slow to import.
        from dreamsim import dreamsim
    except ImportError as error:
        raise MissingDreamSim(
            f"PIC was not computed, since DreamSim cannot be imported ({shown(error)}); install it "
            "into this Python with `python -m pip install dreamsim`, then start again."
        ) from error
    try:
        model, _ = dreamsim(pretrained=True, device=str(device), cache_dir=cache_folder)
    except OSError as error:
        raise MissingDreamSim(
            f"PIC was not computed, since DreamSim's weights cannot be read or downloaded "
            f"({shown(error)}); unpack {WEIGHTS} of its releases on GitHub into "
            f"{shown(cache_folder)}."
        ) from error

    def distance(first: Tensor, second: Tensor) -> Tensor:
        pair = (_dreamsim_input(images).to(device) for images in (first, second))
        return model(*pair).float().reshape(-1).cpu()

    return distance


def _dreamsim_input(images: Tensor) -> Tensor:
    """`[B, 3, H, W]` in [0, 1] to `[B, 3, 224, 224]`: bicubic, aspect not kept; the model does the
    rest."""
    size = (DREAMSIM_SIZE, DREAMSIM_SIZE)
    resized = F.interpolate(images.float(), size, mode="bicubic", antialias=True)
    return resized.clamp(0, 1)
