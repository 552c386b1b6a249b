"""The KL autoencoder in the key layout of Stable Diffusion's (`first_stage_model.`), any width.

Source: docs/method.md#latents; Rombach et al. 2022, "High-Resolution Image Synthesis".
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..unet.ops import sdpa
from .vae_blocks import (
    LATENT_SCALE,
    Encoder,
    LayerFactory,
    Posterior,
    SpatialResBlock,
    decoder_levels,
    middle,
)


class AutoencoderArch(NamedTuple):
    """Widths of the autoencoder. `channels` must be a multiple of 32 (GroupNorm)."""

    channels: int = 32
    channel_mult: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 1
    z_channels: int = 4

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.channels * mult for mult in self.channel_mult)


def detect_autoencoder(shapes: Mapping[str, tuple[int, ...]]) -> AutoencoderArch:
    """The widths from key -> shape, keys without prefix. Raises KeyError if a key is missing."""
    channels = shapes["encoder.conv_in.weight"][0]
    levels, blocks = (
        1
        + max(
            int(k.split(".")[i]) for k in shapes if k.startswith("encoder.down.") and ".block." in k
        )
        for i in (2, 4)
    )
    widths = (shapes[f"encoder.down.{i}.block.{blocks - 1}.conv2.weight"][0] for i in range(levels))
    return AutoencoderArch(
        channels=channels,
        channel_mult=tuple(width // channels for width in widths),
        num_res_blocks=blocks,
        z_channels=shapes["decoder.conv_in.weight"][1],
    )


class Decoder(nn.Module):
    """Latents to images, under the published keys."""

    def __init__(self, arch: AutoencoderArch, make: LayerFactory):
        super().__init__()
        channels = arch.widths[-1]
        self.conv_in = make.conv(arch.z_channels, channels)
        self.mid = middle(SpatialResBlock, channels, make)
        self.up = decoder_levels(SpatialResBlock, arch.widths, arch.num_res_blocks, make)
        channels = arch.widths[0]
        self.norm_out = make.norm(channels)
        self.conv_out = make.conv(channels, 3)

    def forward(self, z: Tensor) -> Tensor:
        """z: `[N, 4, h, w]`, not scaled. Returns `[N, 3, 8h, 8w]`, about [-1, 1]."""
        h = self.conv_in(z)
        h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(h)))  # type: ignore[operator]
        for level in reversed(self.up):
            for block in level.block:  # type: ignore[union-attr]
                h = block(h)
            if hasattr(level, "upsample"):
                h = F.interpolate(h, scale_factor=2.0, mode="nearest")
                h = level.upsample.conv(h)  # type: ignore[union-attr]
        return self.conv_out(F.silu(self.norm_out(h)))


class Autoencoder(Posterior):
    """Images in [-1, 1] to unscaled latents at an eighth of the size, and back."""

    def __init__(self, arch: AutoencoderArch | None = None):
        super().__init__()
        self.arch = arch or AutoencoderArch()
        z = self.arch.z_channels
        make = LayerFactory(nn, sdpa, {})  # type: ignore[arg-type]
        widths, blocks = self.arch.widths, self.arch.num_res_blocks
        self.encoder = Encoder(self.arch.channels, widths, blocks, z, make)
        self.decoder = Decoder(self.arch, make)
        self.quant_conv = nn.Conv2d(2 * z, 2 * z, 1)
        self.post_quant_conv = nn.Conv2d(z, z, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Images `[N, 3, H, W]` in [-1, 1] to what the U-Net sees, `scaled_mean`."""
        return self.scaled_mean(images)

    def decode(self, latents: Tensor) -> Tensor:
        """latents: `[B, 4, h, w]`, scaled by 0.18215. Returns images `[B, 3, H, W]`."""
        return self.decoder(self.post_quant_conv(latents / LATENT_SCALE))

    @torch.no_grad()
    def fold_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Rescale the latent space so that 0.18215 z has mean 0 and std 1 in every channel.

        mean, std: `[4]`, of the unscaled latents now. The decoded images do not change: what
        `quant_conv` gains, `post_quant_conv` undoes.
        """
        z = self.arch.z_channels
        gain = 1.0 / (std * LATENT_SCALE)
        quant, post = self.quant_conv, self.post_quant_conv
        assert quant.bias is not None and post.bias is not None
        quant.weight[:z] *= gain[:, None, None, None]
        quant.bias[:z] = (quant.bias[:z] - mean) * gain
        quant.bias[z:] += 2 * gain.log()
        post.bias += post.weight[:, :, 0, 0] @ mean
        post.weight /= gain[None, :, None, None]
