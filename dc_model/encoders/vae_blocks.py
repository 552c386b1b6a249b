"""Blocks of Stable Diffusion's VAE, which ToonCrafter's shares; attribute names are its keys.

Source: docs/method.md#latents.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..unet.ops import Attention, Operations

# Times it, latents have about unit variance; the U-Net sees them so.
LATENT_SCALE = 0.18215


class LayerFactory:
    """Layers in the host's operations, dtype and device."""

    def __init__(self, operations: Operations, attention: Attention, tensor: dict[str, Any]):
        self.operations, self.attention, self.tensor = operations, attention, tensor

    def norm(self, channels: int, eps: float = 1e-6) -> nn.Module:
        """Group normalization, 32 groups."""
        return self.operations.GroupNorm(32, channels, eps=eps, **self.tensor)

    def linear(self, inputs: int, outputs: int, *, bias: bool) -> nn.Module:
        """A linear layer."""
        return self.operations.Linear(inputs, outputs, bias=bias, **self.tensor)

    def conv(self, inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Module:
        """A convolution within a frame; a strided one is padded by its caller."""
        padding = size // 2 if stride == 1 else 0
        return self.operations.Conv2d(inputs, outputs, size, stride, padding, **self.tensor)

    def time_conv(self, channels: int) -> nn.Module:
        """A convolution over three frames."""
        return self.operations.Conv3d(
            channels, channels, (3, 1, 1), padding=(1, 0, 0), **self.tensor
        )

    def parameter(self, *shape: int) -> nn.Parameter:
        """A bare parameter, zeros."""
        return nn.Parameter(torch.zeros(*shape, **self.tensor))


class SpatialResBlock(nn.Module):
    """Residual block within a frame."""

    def __init__(self, inputs: int, outputs: int, make: LayerFactory):
        super().__init__()
        self.norm1 = make.norm(inputs)
        self.conv1 = make.conv(inputs, outputs)
        self.norm2 = make.norm(outputs)
        self.conv2 = make.conv(outputs, outputs)
        self.nin_shortcut = (
            nn.Identity() if inputs == outputs else make.conv(inputs, outputs, size=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: `[N, C, H, W]`. Returns `[N, C_out, H, W]`."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.nin_shortcut(x) + h


class PixelAttention(nn.Module):
    """Single-head attention among the pixels of a frame."""

    def __init__(self, channels: int, make: LayerFactory):
        super().__init__()
        self.attend = make.attention
        self.norm = make.norm(channels)
        self.q = make.conv(channels, channels, size=1)
        self.k = make.conv(channels, channels, size=1)
        self.v = make.conv(channels, channels, size=1)
        self.proj_out = make.conv(channels, channels, size=1)

    def forward(self, x: Tensor) -> Tensor:
        """x: `[N, C, H, W]`. Returns the same shape."""
        h = self.norm(x)
        q, k, v = (rearrange(to(h), "n c h w -> n (h w) c") for to in (self.q, self.k, self.v))
        h = rearrange(self.attend(q, k, v, 1, {}), "n (h w) c -> n c h w", h=x.shape[-2])
        return x + self.proj_out(h)


def middle(block: type[SpatialResBlock], channels: int, make: LayerFactory) -> nn.Module:
    """Two residual blocks with attention between."""
    parts = nn.Module()
    parts.block_1 = block(channels, channels, make)
    parts.attn_1 = PixelAttention(channels, make)
    parts.block_2 = block(channels, channels, make)
    return parts


def decoder_levels(
    block: type[SpatialResBlock], widths: Sequence[int], num_blocks: int, make: LayerFactory
) -> nn.ModuleList:
    """A decoder's levels, finest first as in its keys; widths: of the levels in that order."""
    channels = widths[-1]
    levels: list[nn.Module] = []
    for level, width in reversed(list(enumerate(widths))):
        stage = nn.Module()
        stage.block = nn.ModuleList()
        for _ in range(num_blocks + 1):
            stage.block.append(block(channels, width, make))
            channels = width
        if level:
            stage.upsample = nn.Module()
            stage.upsample.conv = make.conv(channels, channels)
        levels.insert(0, stage)
    return nn.ModuleList(levels)


class Encoder(nn.Module):
    """Images to the moments of latents. base, widths: channels at first and of each level."""

    def __init__(
        self, base: int, widths: Sequence[int], num_blocks: int, z_channels: int, make: LayerFactory
    ):
        super().__init__()
        channels = base
        self.conv_in = make.conv(3, channels)
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            stage = nn.Module()
            stage.block = nn.ModuleList()
            for _ in range(num_blocks):
                stage.block.append(SpatialResBlock(channels, width, make))
                channels = width
            if level != len(widths) - 1:
                stage.downsample = nn.Module()
                stage.downsample.conv = make.conv(channels, channels, stride=2)
            self.down.append(stage)
        self.mid = middle(SpatialResBlock, channels, make)
        self.norm_out = make.norm(channels)
        self.conv_out = make.conv(channels, z_channels * 2)

    def hidden_states(self, x: Tensor) -> list[Tensor]:
        """x: `[N, 3, H, W]`. Returns each level's last features, then the first convolution's."""
        h = first = self.conv_in(x)
        states = []
        for stage in self.down:
            for block in stage.block:  # type: ignore[union-attr]
                h = block(h)
            states.append(h)
            if hasattr(stage, "downsample"):
                # The published encoder pads right and bottom only.
                h = stage.downsample.conv(F.pad(h, (0, 1, 0, 1)))  # type: ignore[union-attr]
        return [*states, first]

    def forward(self, x: Tensor) -> Tensor:
        """x: `[N, 3, H, W]` in [-1, 1]. Returns `[N, 8, H/8, W/8]`."""
        h = self.hidden_states(x)[-2]
        h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(h)))  # type: ignore[operator]
        return self.conv_out(F.silu(self.norm_out(h)))


class Posterior(nn.Module):
    """What both VAEs make of images `[B, 3, H, W]` in [-1, 1]."""

    encoder: Any
    quant_conv: Any

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior's mean and log-variance, unscaled, `[B, 4, H/8, W/8]` each."""
        mean, logvar = self.quant_conv(self.encoder(images)).chunk(2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)

    def scaled_mean(self, images: Tensor) -> Tensor:
        """The posterior's mean times 0.18215, as the U-Net sees it: `[B, 4, H/8, W/8]`."""
        return self.moments(images)[0] * LATENT_SCALE

    def sample(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A posterior sample times 0.18215, `[B, 4, H/8, W/8]`; noise of the CPU, as published."""
        mean, logvar = self.moments(images)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        return (mean + torch.exp(0.5 * logvar) * noise) * LATENT_SCALE
