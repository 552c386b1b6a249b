"""Host objects in a few lines, for functions of the nodes that are called without a server."""

from typing import Any

import torch
from torch import Tensor

Conditioning = list[list[Any]]


def conditioning(width: int = 8, **values: Any) -> Conditioning:
    """A CONDITIONING of one prompt of zeros `[1, 77, width]`."""
    return [[torch.zeros(1, 77, width), {"pooled_output": None, **values}]]


class FakeVAE:
    """A VAE whose latents are the mean colours of 8 x 8 pixels, and their mean; it notes calls."""

    latent_channels = 4

    def __init__(self) -> None:
        self.encoded: list[Tensor] = []
        self.decoded: list[tuple[int, Any]] = []

    def encode(self, images: Tensor) -> Tensor:
        """images: `[K, H, W, 3]`. Returns `[K, 4, H / 8, W / 8]`."""
        self.encoded.append(images)
        colours = torch.nn.functional.avg_pool2d(images.movedim(-1, 1), 8)
        return torch.cat([colours, colours.mean(dim=1, keepdim=True)], dim=1)

    def decode(self, latents: Tensor) -> Tensor:
        """Each latent's first three channels as a square of 8 x 8 pixels."""
        self.decoded.append((len(latents), None))
        return self._picture(latents)

    def decode_tiled(self, latents: Tensor, tile_x: int, tile_y: int, overlap: int) -> Tensor:
        self.decoded.append((len(latents), (tile_x, tile_y, overlap)))
        return self._picture(latents)

    def _picture(self, latents: Tensor) -> Tensor:
        large = latents[:, :3].repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
        return large.movedim(1, -1)  # [K, H, W, 3]


class FakeCLIP:
    """A CLIP whose embedding of a text is its length in every channel.

    hooks: settings of each range of steps, as a CLIP with hooks has them.
    """

    def __init__(self, *hooks: dict[str, Any]) -> None:
        self.hooks = hooks or ({},)

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str) -> Conditioning:
        text = torch.full((1, 77, 8), float(len(tokens)))
        return [[text, {"pooled_output": text[:, 0], **hooks}] for hooks in self.hooks]
