"""PIC, perceptual input conformity: how much a video still looks like its input image.

Source: DynamiCrafter paper, section 4.2 (PIC with DreamSim); spec/users.md 4.2.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Two batches of images [B, 3, H, W] in [0, 1] -> distance [B].
PerceptualDistance = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def perceptual_input_conformity(
    image: Tensor, video: Tensor, distance: PerceptualDistance
) -> float:
    """Mean over frames of `1 - distance(image, frame)`.

    image: `[3, H, W]`; video: `[T, 3, H, W]`; both in [0, 1]. Raises ValueError for other shapes.
    """
    if image.ndim != 3 or video.ndim != 4 or len(video) == 0:
        raise ValueError(
            f"Found an image of shape {list(image.shape)} and a video of {list(video.shape)}; "
            "expected [3, H, W] and [T, 3, H, W]."
        )
    distances = distance(image.expand(len(video), -1, -1, -1), video)
    return float((1 - distances.double()).mean())


def dreamsim_distance(device: torch.device | str = "cpu") -> PerceptualDistance:
    """DreamSim's distance at its 224 px input. Raises ImportError with what to install."""
    try:
        from dreamsim import dreamsim
    except ImportError as error:
        raise ImportError("PIC uses DreamSim: `pip install dreamsim`.") from error
    model, _ = dreamsim(pretrained=True, device=str(device))

    def distance(first: Tensor, second: Tensor) -> Tensor:
        resized = (
            torch.nn.functional.interpolate(
                images, (224, 224), mode="bicubic", antialias=True, align_corners=False
            ).clamp(0, 1)
            for images in (first, second)
        )
        return model(*(images.to(device) for images in resized)).cpu()

    return distance
