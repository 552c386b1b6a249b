"""Building blocks of the dual-reference VAE; attribute names are the checkpoints' keys.

Frames travel folded into the batch, `[B*T, C, H, W]`, frame fastest. Source:
docs/method.md#dual-reference-decoder.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..frames import fold_frames, unfold_frames
from ..unet.ops import Attention, Operations, cast_like
from .pieces import Pieces, per_frame

# The published code gives the reference attention 8 heads at every width.
FUSION_HEADS = 8


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


class TimeStack(nn.Module):
    """Two convolutions along time with a residual."""

    def __init__(self, channels: int, make: LayerFactory):
        super().__init__()
        norm, conv = make.norm(channels, eps=1e-5), make.time_conv(channels)
        self.in_layers = nn.Sequential(norm, nn.SiLU(), conv)
        norm, conv = make.norm(channels, eps=1e-5), make.time_conv(channels)
        self.out_layers = nn.Sequential(norm, nn.SiLU(), nn.Identity(), conv)

    def forward(self, x: Tensor) -> Tensor:
        """x: `[B, C, T, H, W]`, the statistics run over T, H and W. Returns the same shape."""
        return x + self.out_layers(self.in_layers(x))

    def in_pieces(self, pieces: Pieces) -> Pieces:
        """What the convolutions add to a clip, before the residual."""
        return pieces.over_time(self.in_layers).over_time(self.out_layers)


class VideoResBlock(SpatialResBlock):
    """A spatial block, then a learned mix of its output with a `TimeStack` of it."""

    def __init__(self, inputs: int, outputs: int, make: LayerFactory):
        super().__init__(inputs, outputs, make)
        self.time_stack = TimeStack(outputs, make)
        self.mix_factor = make.parameter(1)

    def forward(self, x: Tensor, num_frames: int = 1) -> Tensor:
        """x: `[B*T, C, H, W]`. Returns `[B*T, C_out, H, W]`."""
        pieces = Pieces.cut(unfold_frames(x, num_frames), num_frames)
        self.in_pieces(pieces)
        return fold_frames(pieces.whole())

    def in_pieces(self, pieces: Pieces) -> None:
        """The clip's pieces `[B, C, t, H, W]`, replaced by those of the result."""
        pieces.apply(per_frame(super().forward))
        time = self.time_stack.in_pieces(pieces)

        def mix(h: Tensor, index: int) -> Tensor:
            weight = torch.sigmoid(cast_like(self.mix_factor, h))
            return torch.lerp(h, h + time[index], weight)

        pieces.apply(mix)


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
        q, k, v = (layer(h).flatten(2).mT for layer in (self.q, self.k, self.v))  # [N, H*W, C]
        h = self.attend(q, k, v, 1, {}).mT.unflatten(2, x.shape[-2:])  # [N, C, H, W]
        return x + self.proj_out(h)


class ReferenceAddition(nn.Module):
    """Adds the references' features to the first and to the last frame."""

    def __init__(self, channels: int, make: LayerFactory):
        super().__init__()
        self.conv = make.conv(channels, channels, size=1)

    def forward(self, x: Tensor, reference: Tensor, ends: tuple[bool, bool]) -> Tensor:
        """x: `[B, C, T, H, W]`; reference: `[B, C, 2, H, W]`.

        ends: whether x holds the video's first and last frame. Returns x's shape.
        """
        x = x.clone()
        for i, (frame, present) in enumerate(zip((0, -1), ends, strict=True)):
            if present:
                x[:, :, frame] += self.conv(reference[:, :, i])
        return x


class ReferenceAttention(nn.Module):
    """Every pixel of every frame attends to all pixels of both references."""

    def __init__(self, channels: int, head_dim: int, make: LayerFactory):
        super().__init__()
        self.attend = make.attention
        inner = FUSION_HEADS * head_dim
        self.norm = make.norm(channels)
        self.to_q = make.linear(channels, inner, bias=False)
        self.to_k = make.linear(channels, inner, bias=False)
        self.to_v = make.linear(channels, inner, bias=False)
        self.to_out = nn.Sequential(make.linear(inner, channels, bias=True))

    def forward(self, x: Tensor, reference: Tensor, ends: tuple[bool, bool]) -> Tensor:
        """x: `[B, C, T, H, W]`; reference: `[B, C, 2, H, W]`. Returns x's shape."""
        del ends  # the references reach all frames
        h = unfold_frames(self.norm(fold_frames(x)), x.shape[2])  # statistics per frame
        q = self.to_q(h.flatten(2).mT)  # [B, T*H*W, inner]
        tokens = reference.flatten(2).mT  # [B, 2*H*W, C], not normalized
        h = self.attend(q, self.to_k(tokens), self.to_v(tokens), FUSION_HEADS, {})
        return x + self.to_out(h).mT.unflatten(2, x.shape[2:])  # [B, C, T, H, W]
