"""The U-Net as its formulas say it, for comparison: same weights, none of the care.

Attention stores its scores, context is repeated for every frame and projected for each, layers
along time copy what they need into the order they want, and guidance takes two passes. Patches of
a host are left out.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dc_model.unet.attention import DualCrossAttention, SelfAttention
from dc_model.unet.blocks import Downsample, ResBlock, Upsample
from dc_model.unet.ops import timestep_embedding
from dc_model.unet.transformers import (
    SpatialBlock,
    SpatialTransformer,
    TemporalBlock,
    TemporalTransformer,
)
from dc_model.unet.unet import DynamiCrafterUNet, frame_image_context


def plain_unet(
    unet: DynamiCrafterUNet,
    x: Tensor,
    timesteps: Tensor,
    context: Tensor,
    image_context: Tensor,
    speed: Tensor,
) -> Tensor:
    """`DynamiCrafterUNet.forward` for a model that takes text, image and speed."""
    frames, width = x.shape[2], unet.arch.model_channels
    embedding = unet.time_embed(timestep_embedding(timesteps, width).to(x.dtype))
    embedding = embedding + unet.fps_embedding(timestep_embedding(speed, width).to(x.dtype))
    embedding = embedding.repeat_interleave(frames, dim=0)  # [B*T, E]
    text = context.repeat_interleave(frames, dim=0)  # [B*T, L, C]
    image = frame_image_context(image_context, frames, "auto")
    if len(image) != len(text):
        image = image.repeat_interleave(frames, dim=0)  # [B*T, M, C]
    run = _Run(embedding, text, image, frames)

    h = x.transpose(1, 2).flatten(0, 1)  # [B*T, C, H, W]
    skips = []
    for i, block in enumerate(unet.input_blocks):
        h = run.block(block, h)
        if i == 0 and unet.arch.init_attention:
            h = run.block(unet.init_attn, h)
        skips.append(h)
    h = run.block(unet.middle_block, h)
    for block in unet.output_blocks:
        h = torch.cat([h, skips.pop()], dim=1)
        h = run.block(block, h, tuple(skips[-1].shape[-2:]) if skips else None)
    return unet.out(h).unflatten(0, (-1, frames)).transpose(1, 2)  # [B, C, T, H, W]


class _Run:
    """The layers of one call."""

    def __init__(self, embedding: Tensor, text: Tensor, image: Tensor, frames: int):
        self.embedding, self.text, self.image, self.frames = embedding, text, image, frames

    def block(self, layers: Any, h: Tensor, size: Any = None) -> Tensor:
        for layer in layers:
            if isinstance(layer, ResBlock):
                h = self.residual(layer, h)
            elif isinstance(layer, SpatialTransformer):
                h = self.spatial(layer, h)
            elif isinstance(layer, TemporalTransformer):
                h = self.temporal(layer, h)
            elif isinstance(layer, Upsample):
                h = layer.conv(F.interpolate(h, size=size, mode="nearest"))
            else:
                h = layer.op(h) if isinstance(layer, Downsample) else layer(h)
        return h

    def residual(self, layer: ResBlock, x: Tensor) -> Tensor:
        h = layer.in_layers(x) + layer.emb_layers(self.embedding)[:, :, None, None]
        h = layer.skip_connection(x) + layer.out_layers(h)
        if not layer.temporal:
            return h
        video = self.unfold(h)
        along, out = layer.temopral_conv, video
        for conv in (along.conv1, along.conv2, along.conv3, along.conv4):
            out = conv(out)
        return self.fold(video + out)

    def spatial(self, layer: SpatialTransformer, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        h = layer.norm(x).flatten(2).transpose(1, 2).contiguous()  # [B*T, H*W, C]
        h = layer.proj_in(h)
        for block in layer.transformer_blocks:
            assert isinstance(block, SpatialBlock)
            h = h + attend_self(block.attn1, block.norm1(h))
            h = h + attend_dual(block.attn2, block.norm2(h), self.text, self.image)
            h = h + feed_forward(block, h)
        h = layer.proj_out(h)
        return x + h.transpose(1, 2).unflatten(2, (height, width)).contiguous()

    def temporal(self, layer: TemporalTransformer, x: Tensor) -> Tensor:
        video = self.unfold(x)
        batch, _, _, height, width = video.shape
        h = layer.norm(video).permute(0, 3, 4, 1, 2).contiguous().flatten(0, 2)  # [B*H*W, C, T]
        if layer.use_linear:
            h = layer.proj_in(h.transpose(1, 2).contiguous())  # [B*H*W, T, C]
        else:
            h = layer.proj_in(h).transpose(1, 2).contiguous()
        for block in layer.transformer_blocks:
            assert isinstance(block, TemporalBlock)
            h = h + attend_self(block.attn1, block.norm1(h))
            h = h + attend_self(block.attn2, block.norm2(h))
            h = h + feed_forward(block, h)
        if layer.use_linear:
            h = layer.proj_out(h).transpose(1, 2).contiguous()
        else:
            h = layer.proj_out(h.transpose(1, 2).contiguous())
        h = h.unflatten(0, (batch, height, width)).permute(0, 3, 4, 1, 2).contiguous()
        return self.fold(video + h)

    def unfold(self, h: Tensor) -> Tensor:
        """To `[B, C, T, H, W]`, stored in that order."""
        return h.unflatten(0, (-1, self.frames)).transpose(1, 2).contiguous()

    def fold(self, video: Tensor) -> Tensor:
        return video.transpose(1, 2).contiguous().flatten(0, 1)  # [B*T, C, H, W]


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Softmax attention `[B, N, heads * D]` whose scores `[B * heads, N, M]` are stored."""
    q, k, v = (
        x.unflatten(-1, (heads, -1)).transpose(1, 2).contiguous().flatten(0, 1) for x in (q, k, v)
    )
    scores = torch.einsum("bid,bjd->bij", q, k) * q.shape[-1] ** -0.5
    out = torch.einsum("bij,bjd->bid", scores.softmax(dim=-1), v)
    return out.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)


def attend_self(layer: SelfAttention, x: Tensor) -> Tensor:
    """Self-attention, x: `[N, L, dim]`."""
    return layer.to_out(attend(layer.to_q(x), layer.to_k(x), layer.to_v(x), layer.heads))


def attend_dual(layer: DualCrossAttention, x: Tensor, text: Tensor, image: Tensor) -> Tensor:
    """Text and image attention, x: `[B*T, H*W, dim]`, a row of context for each of x."""
    q = layer.to_q(x)
    out = attend(q, layer.to_k(text), layer.to_v(text), layer.heads)
    if layer.image_attention:
        seen = attend(q, layer.to_k_ip(image), layer.to_v_ip(image), layer.heads)
        gate = layer.gate()
        out = out + (gate.to(out.dtype) if isinstance(gate, Tensor) else gate) * seen
    return layer.to_out(out)


def feed_forward(block: SpatialBlock | TemporalBlock, h: Tensor) -> Tensor:
    """GEGLU of the normalised `h`."""
    first, _, last = block.ff.net
    a, gate = first.proj(block.norm3(h)).chunk(2, dim=-1)  # type: ignore[union-attr, operator]
    return last(a * F.gelu(gate))
