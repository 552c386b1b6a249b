"""Video feature extractors and their preprocessing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

I3D_SIZE = 224
I3D_MIN_FRAMES = 9


class Extractor(Protocol):
    """Videos to features. name: as a protocol prints it."""

    name: str

    def __call__(self, videos: Tensor) -> Tensor:
        """videos: `[N, T, 3, H, W]` in [0, 1]. Returns `[N, D]`."""
        ...


def i3d_input(videos: Tensor) -> Tensor:
    """`[N, T, 3, H, W]` in [0, 1] to `[N, 3, T, 224, 224]` in [-1, 1].

    Bilinear without antialias, aspect ratio not kept, as in the published FVD code.
    """
    count, frames = videos.shape[:2]
    flat = F.interpolate(
        videos.flatten(0, 1), (I3D_SIZE, I3D_SIZE), mode="bilinear", align_corners=False
    )
    return flat.unflatten(0, (count, frames)).transpose(1, 2) * 2 - 1


@dataclass
class I3D:
    """The Kinetics-400 I3D as TorchScript, the file that published FVD code shares.

    The user supplies the file. Its features are the 400 logits before the softmax.
    """

    path: Path
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise FileNotFoundError(
                f"{self.path} does not exist; supply the I3D TorchScript file (i3d_torchscript.pt)."
            )
        self.name = f"I3D ({self.path.name}, 224 px, bilinear, logits)"
        self.module = torch.jit.load(str(self.path), map_location=self.device).eval()

    @torch.no_grad()
    def __call__(self, videos: Tensor) -> Tensor:
        """Raises ValueError for clips too short for I3D's pooling."""
        if videos.shape[1] < I3D_MIN_FRAMES:
            raise ValueError(
                f"Clips have {videos.shape[1]} frames; I3D needs at least {I3D_MIN_FRAMES}."
            )
        x = i3d_input(videos).to(self.device)
        return self.module(x, rescale=False, resize=False, return_features=True).float().cpu()


@torch.no_grad()
def extract(extractor: Extractor, videos: Tensor, batch_size: int = 8) -> np.ndarray:
    """Features of many videos, `[N, D]` float64."""
    parts = [extractor(part) for part in videos.split(batch_size)]
    return torch.cat(parts).double().numpy()
