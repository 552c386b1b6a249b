"""Building blocks of the dual-reference VAE; attribute names are the checkpoints' keys.

Frames travel folded into the batch, `[B*T, C, H, W]`, frame fastest. Source:
docs/method.md#dual-reference-decoder.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from ..encoders.vae_blocks import LayerFactory, SpatialResBlock
from ..frames import fold_frames, unfold_frames
from ..unet.ops import cast_like
from .pieces import Pieces, per_frame

# The published code gives the reference attention 8 heads at every width.
FUSION_HEADS = 8


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
        queries, tokens = (rearrange(v, "b c t h w -> b (t h w) c") for v in (h, reference))
        k, v = self.to_k(tokens), self.to_v(tokens)  # not normalized
        h = self.to_out(self.attend(self.to_q(queries), k, v, FUSION_HEADS, {}))
        _, _, frames, height, _ = x.shape
        return x + rearrange(h, "b (t h w) c -> b c t h w", t=frames, h=height)
