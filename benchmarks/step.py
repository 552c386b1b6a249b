"""One denoising step under guidance: the pack's way and the plain way, on the same weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dc_model.frames import QUERIES_PER_FRAME
from dc_model.sampling.guidance import classifier_free
from dc_model.unet.unet import DynamiCrafterUNet

from .counting import TEXT_TOKENS
from .networks import Where
from .plain import plain_unet

CFG = 7.5


@dataclass(frozen=True, slots=True)
class Conditioning:
    """Of one guidance branch. text: `[B, 77, C]`; image: `[B, M, C]`; speed: `[B]`."""

    text: Tensor
    image: Tensor
    speed: Tensor

    def joined(self, other: "Conditioning") -> "Conditioning":
        """Both branches as one batch."""
        return Conditioning(
            torch.cat([self.text, other.text]),
            torch.cat([self.image, other.image]),
            torch.cat([self.speed, other.speed]),
        )


def random_conditioning(
    where: Where, width: int, videos: int, frames: int, seed: int
) -> Conditioning:
    """As the encoders give it, 16 image tokens for each frame."""
    return Conditioning(
        where.randn(videos, TEXT_TOKENS, width, seed=seed),
        where.randn(videos, QUERIES_PER_FRAME * frames, width, seed=seed + 1),
        torch.full((videos,), 24.0, device=where.device),
    )


def call(unet: DynamiCrafterUNet, x: Tensor, t: Tensor, given: Conditioning) -> Tensor:
    """One call of the U-Net."""
    return unet(x, t, given.text, given.image, given.speed)


def plain_call(unet: DynamiCrafterUNet, x: Tensor, t: Tensor, given: Conditioning) -> Tensor:
    """The same by `plain`."""
    return plain_unet(unet, x, t, given.text, given.image, given.speed)


def guided(
    unet: DynamiCrafterUNet, x: Tensor, t: Tensor, words: Conditioning, empty: Conditioning
) -> Tensor:
    """Both guidance branches in one call, as ComfyUI batches them; they share `x`."""
    both = call(unet, x, torch.cat([t, t]), words.joined(empty))
    with_words, without = both.chunk(2)
    return classifier_free(with_words, without, CFG)


def plain_guided(
    unet: DynamiCrafterUNet, x: Tensor, t: Tensor, words: Conditioning, empty: Conditioning
) -> Tensor:
    """One call for each branch."""
    return classifier_free(plain_call(unet, x, t, words), plain_call(unet, x, t, empty), CFG)
