"""Convolutional parts of the 3D U-Net.

Frames travel folded into the batch, `[B*T, C, H, W]`, frame fastest; only the temporal layers
unfold them. Source: docs/method.md#residual-block.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ..frames import fold_frames, unfold_frames
from .ops import Operations, add_in_order

# How [B, C, T, H, W] is stored: as the layers along time want it, and as `fold_frames` does.
CHANNELS_FIRST, FRAMES_FIRST = (0, 1, 2, 3, 4), (0, 2, 1, 3, 4)


class TemporalConv(nn.Module):
    """Four (3, 1, 1) convolutions along time with a residual at the end."""

    def __init__(
        self, channels: int, *, dropout: float, operations: Operations, dtype=None, device=None
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}

        def norm() -> list[nn.Module]:
            return [operations.GroupNorm(32, channels, **factory), nn.SiLU()]

        def conv() -> nn.Module:
            return operations.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0), **factory)

        self.conv1 = nn.Sequential(*norm(), conv())
        self.conv2 = nn.Sequential(*norm(), nn.Dropout(dropout), conv())
        self.conv3 = nn.Sequential(*norm(), nn.Dropout(dropout), conv())
        self.conv4 = nn.Sequential(*norm(), nn.Dropout(dropout), conv())

    def forward(self, x: Tensor) -> Tensor:
        """x: `[B, C, T, H, W]`, the statistics run over T, H and W. Returns the same shape."""
        return add_in_order(x, self.conv4(self.conv3(self.conv2(self.conv1(x)))), FRAMES_FIRST)


class ResBlock(nn.Module):
    """Residual block with an added time embedding, then a `TemporalConv`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_channels: int,
        *,
        temporal_conv: bool,
        dropout: float,
        operations: Operations,
        dtype=None,
        device=None,
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.in_layers = nn.Sequential(
            operations.GroupNorm(32, in_channels, **factory),
            nn.SiLU(),
            operations.Conv2d(in_channels, out_channels, 3, padding=1, **factory),
        )
        self.emb_layers = nn.Sequential(
            nn.SiLU(), operations.Linear(embedding_channels, out_channels, **factory)
        )
        self.out_layers = nn.Sequential(
            operations.GroupNorm(32, out_channels, **factory),
            nn.SiLU(),
            nn.Dropout(dropout),
            operations.Conv2d(out_channels, out_channels, 3, padding=1, **factory),
        )
        self.skip_connection = (
            nn.Identity()
            if in_channels == out_channels
            else operations.Conv2d(in_channels, out_channels, 1, **factory)
        )
        if temporal_conv:
            # The published checkpoints spell it so.
            self.temopral_conv = TemporalConv(
                out_channels, dropout=dropout, operations=operations, **factory
            )
        self.temporal = temporal_conv

    def forward(self, x: Tensor, embedding: Tensor, num_frames: int) -> Tensor:
        """x: `[B*T, C, H, W]`; embedding: `[B*T, E]`. Returns `[B*T, C_out, H, W]`."""
        h = self.in_layers(x) + self.emb_layers(embedding)[:, :, None, None]
        skip, h = self.skip_connection(x), self.out_layers(h)
        if not self.temporal:
            return skip + h
        skip, h = unfold_frames(skip, num_frames), unfold_frames(h, num_frames)
        h = add_in_order(skip, h, CHANNELS_FIRST)  # [B, C, T, H, W]
        return fold_frames(self.temopral_conv(h))  # [B*T, C, H, W]


class Downsample(nn.Module):
    """Halves height and width by a strided convolution."""

    def __init__(self, channels: int, *, operations: Operations, dtype=None, device=None):
        super().__init__()
        self.op = operations.Conv2d(
            channels, channels, 3, stride=2, padding=1, dtype=dtype, device=device
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: `[N, C, H, W]`. Returns `[N, C, ceil(H / 2), ceil(W / 2)]`."""
        return self.op(x)


class Upsample(nn.Module):
    """Nearest-neighbour upsampling, then a convolution."""

    def __init__(self, channels: int, *, operations: Operations, dtype=None, device=None):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1, dtype=dtype, device=device)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """x: `[N, C, H, W]`. Returns `[N, C, *size]`: the skip's size, which may be odd."""
        return self.conv(F.interpolate(x, size=size, mode="nearest"))
