"""Transformers of the U-Net: over the pixels of a frame, and along the frames of a pixel.

Source: docs/method.md#spatial-transformer, docs/method.md#temporal-transformer.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..frames import fold_frames, unfold_frames
from .attention import Conditions, DualCrossAttention, SelfAttention, per_row
from .ops import Attention, Operations
from .patches import TransformerOptions, apply_each, attention_options, patches, replacement


class FeedForward(nn.Module):
    """GEGLU with exact GELU, four times as wide inside."""

    class GEGLU(nn.Module):
        """`a * gelu(b)` of one projection's halves."""

        def __init__(self, dim: int, inner: int, *, operations: Operations, **factory):
            super().__init__()
            self.proj = operations.Linear(dim, inner * 2, **factory)

        def forward(self, x: Tensor) -> Tensor:
            a, gate = self.proj(x).chunk(2, dim=-1)
            gate = F.gelu(gate)
            return a * gate if torch.is_grad_enabled() else gate.mul_(a)  # without a third tensor

    def __init__(
        self, dim: int, *, dropout: float, operations: Operations, dtype=None, device=None
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.net = nn.Sequential(
            self.GEGLU(dim, dim * 4, operations=operations, **factory),
            nn.Dropout(dropout),
            operations.Linear(dim * 4, dim, **factory),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: `[..., dim]`. Returns the same shape."""
        return self.net(x)


def _layer_norms(count: int, dim: int, operations: Operations, dtype, device) -> list[nn.Module]:
    return [operations.LayerNorm(dim, dtype=dtype, device=device) for _ in range(count)]


class SpatialBlock(nn.Module):
    """Self-attention within a frame, dual cross-attention, feed-forward."""

    def __init__(
        self,
        dim: int,
        context_dim: int,
        heads: int,
        head_dim: int,
        *,
        image_attention: bool,
        learnable_image_scale: bool,
        dropout: float,
        operations: Operations,
        attention: Attention,
        dtype=None,
        device=None,
    ):
        super().__init__()
        factory: dict[str, Any] = {"operations": operations, "dtype": dtype, "device": device}
        common = {**factory, "dropout": dropout, "attention": attention}
        self.attn1 = SelfAttention(dim, heads, head_dim, **common)
        self.ff = FeedForward(dim, dropout=dropout, **factory)
        self.attn2 = DualCrossAttention(
            dim,
            context_dim,
            heads,
            head_dim,
            image_attention=image_attention,
            learnable_image_scale=learnable_image_scale,
            **common,
        )
        self.norm1, self.norm2, self.norm3 = _layer_norms(3, dim, operations, dtype, device)

    def forward(self, x: Tensor, conditions: Conditions) -> Tensor:
        """x: `[B*T, H*W, dim]`. Returns a row for each of the embedding."""
        options = conditions.options
        extra = attention_options(options, self.attn1.heads, self.attn1.head_dim)
        n = self._self_attention(self.norm1(x), options, extra)
        x = x + apply_each(patches(options, "attn1_output_patch"), n, extra)
        x = apply_each(patches(options, "middle_patch"), x, extra)
        x = conditions.for_each_branch(x)  # from here on their context differs

        n, key = self.norm2(x), conditions.text
        value = key
        for patch in patches(options, "attn2_patch"):
            key, value = per_row(key, n.shape[0]), per_row(value, n.shape[0])
            n, key, value = patch(n, key, value, extra)
        n = self.attn2(n, conditions, key, value)
        x = x + apply_each(patches(options, "attn2_output_patch"), n, extra)
        return x + self.ff(self.norm3(x))

    def _self_attention(
        self, n: Tensor, options: Mapping[str, Any], extra: TransformerOptions
    ) -> Tensor:
        key = value = n
        for patch in patches(options, "attn1_patch"):
            n, key, value = patch(n, key, value, extra)
        replace = replacement(options, "attn1")
        if replace is None:
            return self.attn1(n, options, key, value)
        attn = self.attn1
        return attn.to_out(replace(attn.to_q(n), attn.to_k(key), attn.to_v(value), extra))


class TemporalBlock(nn.Module):
    """Two self-attentions along time and a feed-forward."""

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        *,
        max_distance: int | None,
        dropout: float,
        operations: Operations,
        attention: Attention,
        dtype=None,
        device=None,
    ):
        super().__init__()
        factory: dict[str, Any] = {"operations": operations, "dtype": dtype, "device": device}
        common = {**factory, "dropout": dropout, "attention": attention}
        self.attn1 = SelfAttention(dim, heads, head_dim, max_distance=max_distance, **common)
        self.ff = FeedForward(dim, dropout=dropout, **factory)
        self.attn2 = SelfAttention(dim, heads, head_dim, max_distance=max_distance, **common)
        self.norm1, self.norm2, self.norm3 = _layer_norms(3, dim, operations, dtype, device)

    def forward(self, x: Tensor, options: Mapping[str, Any]) -> Tensor:
        """x: `[B*H*W, T, dim]`. Returns the same shape."""
        x = x + self.attn1(self.norm1(x), options)
        x = x + self.attn2(self.norm2(x), options)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer over the pixels of each frame, with text and image context."""

    def __init__(
        self,
        channels: int,
        context_dim: int,
        heads: int,
        head_dim: int,
        *,
        depth: int,
        operations: Operations,
        dtype=None,
        device=None,
        **block: Any,
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        inner = heads * head_dim
        self.norm = operations.GroupNorm(32, channels, eps=1e-6, **factory)
        self.proj_in = operations.Linear(channels, inner, **factory)
        self.transformer_blocks = nn.ModuleList(
            SpatialBlock(
                inner, context_dim, heads, head_dim, operations=operations, **factory, **block
            )
            for _ in range(depth)
        )
        self.proj_out = operations.Linear(inner, channels, **factory)

    def forward(self, x: Tensor, conditions: Conditions) -> Tensor:
        """x: `[B*T, C, H, W]`. Returns a row for each of the embedding."""
        options = conditions.options
        options["activations_shape"] = list(x.shape)
        # Stored in this order, the linear layer takes its bias along.
        h = self.norm(x).flatten(2).transpose(1, 2).contiguous()  # [B*T, H*W, C]
        h = self.proj_in(h)
        for i, block in enumerate(self.transformer_blocks):
            options["block_index"] = i
            h = block(h, conditions)
        h = self.proj_out(h).transpose(1, 2).unflatten(2, x.shape[-2:])  # [B*T, C, H, W]
        return conditions.for_each_branch(x) + h


class TemporalTransformer(nn.Module):
    """Transformer along the frames of each pixel; the first one has 1D convolutions for linears."""

    def __init__(
        self,
        channels: int,
        heads: int,
        head_dim: int,
        *,
        depth: int,
        use_linear: bool,
        operations: Operations,
        dtype=None,
        device=None,
        **block: Any,
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        inner = heads * head_dim
        self.use_linear = use_linear
        self.norm = operations.GroupNorm(32, channels, eps=1e-6, **factory)
        layer = operations.Linear if use_linear else partial(operations.Conv1d, kernel_size=1)
        self.proj_in = layer(channels, inner, **factory)
        self.proj_out = layer(inner, channels, **factory)
        self.transformer_blocks = nn.ModuleList(
            TemporalBlock(inner, heads, head_dim, operations=operations, **factory, **block)
            for _ in range(depth)
        )

    def forward(self, x: Tensor, conditions: Conditions) -> Tensor:
        """x: `[B*T, C, H, W]`; the norm's statistics run over T, H and W. Returns x's shape."""
        frames = conditions.num_frames
        x = unfold_frames(x, frames)  # [B, C, T, H, W]
        h = self.norm(x)
        batch, _, _, height, width = h.shape
        h = h.permute(0, 3, 4, 2, 1).flatten(0, 2)  # [B*H*W, T, C]
        # Of one video `h` is a view, which a linear layer would take as many small products.
        h = self.proj_in(h.contiguous()) if self.use_linear else self._conv(self.proj_in, h)
        for block in self.transformer_blocks:
            h = block(h, conditions.options)
        h = self.proj_out(h) if self.use_linear else self._conv(self.proj_out, h)
        h = h.unflatten(0, (batch, height, width)).permute(0, 4, 3, 1, 2)  # [B, C, T, H, W]
        return fold_frames(x + h)  # stored as `x` was, so folding copies nothing

    @staticmethod
    def _conv(layer: nn.Module, h: Tensor) -> Tensor:
        return layer(h.transpose(1, 2)).transpose(1, 2)
