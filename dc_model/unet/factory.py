"""Builds the blocks of a U-Net, and its encoder, which the sketch ControlNet has, too."""

from typing import Any

import torch
from torch import nn

from ..variants import INIT_ATTENTION_HEADS, UNetArch
from .blocks import Downsample, ResBlock, Upsample
from .ops import Attention, Operations
from .transformers import SpatialTransformer, TemporalTransformer


class BlockFactory:
    """Blocks of one architecture, in the host's operations, attention, dtype and device.

    temporal: False leaves the temporal transformers away, for a network that sees single frames.
    """

    def __init__(
        self,
        arch: UNetArch,
        operations: Operations,
        attention: Attention,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
        *,
        temporal: bool = True,
    ):
        self.arch, self.operations, self.temporal = arch, operations, temporal
        self.tensor: dict[str, Any] = {"dtype": dtype, "device": device}
        self.factory = {"operations": operations, **self.tensor}
        self.attending = {"attention": attention, **self.factory}

    def conv(self, inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Module:
        """A convolution that keeps the size, but for its stride."""
        return self.operations.Conv2d(inputs, outputs, size, stride, size // 2, **self.tensor)

    def embedding(self) -> nn.Sequential:
        """The two layers after a sinusoidal embedding."""
        linear, width = self.operations.Linear, self.arch.model_channels
        return nn.Sequential(
            linear(width, width * 4, **self.tensor),
            nn.SiLU(),
            linear(width * 4, width * 4, **self.tensor),
        )

    def encoder(self) -> tuple[nn.ModuleList, list[int]]:
        """The blocks before the middle one, and the channels that each gives."""
        arch, channels = self.arch, self.arch.model_channels
        blocks = nn.ModuleList([nn.ModuleList([self.conv(arch.in_channels, channels)])])
        widths = [channels]
        for level, mult in enumerate(arch.channel_mult):
            if level:
                blocks.append(nn.ModuleList([Downsample(channels, **self.factory)]))
                widths.append(channels)
            for _ in range(arch.num_res_blocks):
                width = mult * arch.model_channels
                blocks.append(self.stage(channels, width, arch.attention_levels[level]))
                channels = width
                widths.append(channels)
        return blocks, widths

    def middle(self, channels: int) -> nn.ModuleList:
        """The middle block."""
        return nn.ModuleList(
            [
                self.res(channels, channels),
                *self.transformers(channels),
                self.res(channels, channels),
            ]
        )

    def stage(self, inputs: int, outputs: int, attends: bool) -> nn.ModuleList:
        """A residual block and, where it attends, its transformers."""
        layers: list[nn.Module] = [self.res(inputs, outputs)]
        if attends:
            layers += self.transformers(outputs)
        return nn.ModuleList(layers)

    def upsample(self, channels: int) -> Upsample:
        """The step to the next finer level."""
        return Upsample(channels, **self.factory)

    def res(self, inputs: int, outputs: int) -> ResBlock:
        """A residual block."""
        return ResBlock(
            inputs,
            outputs,
            self.arch.model_channels * 4,
            temporal_conv=self.arch.temporal_conv,
            dropout=self.arch.dropout,
            **self.factory,
        )

    def transformers(self, channels: int) -> list[nn.Module]:
        """Attention within a frame, then along time."""
        arch, heads = self.arch, channels // self.arch.head_dim
        spatial = SpatialTransformer(
            channels,
            arch.context_dim,
            heads,
            arch.head_dim,
            depth=arch.transformer_depth,
            image_attention=arch.image_cross_attention,
            learnable_image_scale=arch.learnable_image_scale,
            dropout=0.0,
            **self.attending,
        )
        return [spatial, self._temporal(channels, heads)] if self.temporal else [spatial]

    def init_attention(self) -> TemporalTransformer:
        """The temporal transformer after the first convolution."""
        return self._temporal(self.arch.model_channels, INIT_ATTENTION_HEADS, use_linear=False)

    def _temporal(
        self, channels: int, heads: int, *, use_linear: bool = True
    ) -> TemporalTransformer:
        arch = self.arch
        return TemporalTransformer(
            channels,
            heads,
            arch.head_dim,
            depth=arch.transformer_depth,
            use_linear=use_linear,
            max_distance=arch.temporal_length if arch.relative_position else None,
            dropout=0.0,
            **self.attending,
        )
