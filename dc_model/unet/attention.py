"""Attention of the U-Net: dual cross-attention in space, self-attention in time.

Source: docs/method.md#dual-cross-attention.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .ops import Attention, Operations, cast_like
from .patches import TransformerOptions, attention_options, replacement
from .relative_position import RelativePosition, relative_attention

# In the options of a forward pass: factors of the gate lambda, one per spatial transformer in
# forward order. The node Dual-Attention Lambda puts them there.
IMAGE_STRENGTHS = "dynamicrafter_image_strengths"


def image_strength(options: Mapping[str, Any]) -> float:
    """The factor in the spatial transformer that runs now; 1 where none is set."""
    strengths = options.get(IMAGE_STRENGTHS)
    return 1.0 if strengths is None else strengths[options["transformer_index"]]


class Conditions(NamedTuple):
    """What every block of one forward pass shares.

    embedding: `[B*T, E]`, timestep plus speed. text: `[B, L, C]`, or `[B*T, L, C]` for a prompt per
    frame. image: `[B, M, C]` shared by all frames, `[B*T, m, C]` per frame, or None.
    options: a host's `transformer_options`, with `IMAGE_STRENGTHS` where set.
    """

    embedding: Tensor
    text: Tensor
    image: Tensor | None
    num_frames: int
    options: TransformerOptions

    def for_each_branch(self, h: Tensor) -> Tensor:
        """`h`, once for each guidance branch where they shared it so far; a row per embedding."""
        branches = len(self.embedding) // len(h)
        return h if branches == 1 else h.repeat(branches, *[1] * (h.ndim - 1))


class Projections(nn.Module):
    """Query, key, value and output projections of one attention."""

    def __init__(
        self,
        dim: int,
        context_dim: int,
        heads: int,
        head_dim: int,
        *,
        dropout: float,
        operations: Operations,
        attention: Attention,
        dtype=None,
        device=None,
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        inner = heads * head_dim
        self.heads, self.head_dim = heads, head_dim
        self.attend = attention
        self.to_q = operations.Linear(dim, inner, bias=False, **factory)
        self.to_k = operations.Linear(context_dim, inner, bias=False, **factory)
        self.to_v = operations.Linear(context_dim, inner, bias=False, **factory)
        self.to_out = nn.Sequential(operations.Linear(inner, dim, **factory), nn.Dropout(dropout))


class SelfAttention(Projections):
    """Self-attention, in time optionally with relative positions (VideoCrafter 1)."""

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        *,
        max_distance: int | None = None,
        dtype=None,
        device=None,
        **common: Any,
    ):
        super().__init__(dim, dim, heads, head_dim, dtype=dtype, device=device, **common)
        self.relative = max_distance is not None
        if max_distance is not None:
            tables = {"dtype": dtype, "device": device}
            self.relative_position_k = RelativePosition(head_dim, max_distance, **tables)
            self.relative_position_v = RelativePosition(head_dim, max_distance, **tables)

    def forward(
        self,
        x: Tensor,
        options: Mapping[str, Any],
        key: Tensor | None = None,
        value: Tensor | None = None,
    ) -> Tensor:
        """x: `[N, L, dim]`; key and value replace it where a host's patch says so."""
        key = x if key is None else key
        q, k, v = self.to_q(x), self.to_k(key), self.to_v(key if value is None else value)
        if self.relative:
            length = x.shape[1]
            out = relative_attention(
                q,
                k,
                v,
                self.heads,
                self.relative_position_k(length, q),
                self.relative_position_v(length, v),
            )
        else:
            out = self.attend(q, k, v, self.heads, options)
        return self.to_out(out)


class DualCrossAttention(Projections):
    """Text and image attention with one query; the gate lambda weighs the image.

    `out = text + gate() * image_strength * image`. Text keys and values exist once per video, not
    once per frame.
    """

    def __init__(
        self,
        dim: int,
        context_dim: int,
        heads: int,
        head_dim: int,
        *,
        image_attention: bool,
        learnable_image_scale: bool,
        operations: Operations,
        dtype=None,
        device=None,
        **common: Any,
    ):
        factory = {"dtype": dtype, "device": device}
        super().__init__(
            dim, context_dim, heads, head_dim, operations=operations, **factory, **common
        )
        self.image_attention = image_attention
        if image_attention:
            inner = heads * head_dim
            self.to_k_ip = operations.Linear(context_dim, inner, bias=False, **factory)
            self.to_v_ip = operations.Linear(context_dim, inner, bias=False, **factory)
        self.learnable_image_scale = image_attention and learnable_image_scale
        if self.learnable_image_scale:
            self.alpha = nn.Parameter(torch.zeros((), **factory))

    def gate(self) -> Tensor | float:
        """Lambda of this layer, in [0, 2]: `tanh(alpha) + 1` where it was learned (256), else 1."""
        return torch.tanh(self.alpha.float()) + 1 if self.learnable_image_scale else 1.0

    def forward(
        self, x: Tensor, conditions: Conditions, text_key: Tensor, text_value: Tensor
    ) -> Tensor:
        """x: `[B*T, H*W, dim]`; text_key, text_value: `[B or B*T, L, C]`. Returns x's shape."""
        options = conditions.options
        q = self.to_q(x)
        replace = replacement(options, "attn2")
        if replace is not None:
            rows = q.shape[0]
            k, v = self.to_k(per_row(text_key, rows)), self.to_v(per_row(text_value, rows))
            extra = attention_options(options, self.heads, self.head_dim)
            out = replace(q, k, v, extra)
        else:
            out = self._attend_rows(q, self.to_k(text_key), self.to_v(text_value), options)
        image, strength = conditions.image, image_strength(options)
        if self.image_attention and image is not None and strength != 0:
            k, v = self.to_k_ip(image), self.to_v_ip(image)
            seen = self._attend_rows(q, k, v, options)
            weight = self.gate() * strength
            if isinstance(weight, Tensor):
                out = torch.addcmul(out, seen, cast_like(weight, out))
            else:
                out = torch.add(out, seen, alpha=weight)
        return self.to_out(out)

    def _attend_rows(self, q: Tensor, k: Tensor, v: Tensor, options: Mapping[str, Any]) -> Tensor:
        """Attention where keys may have one row per video and queries one row per frame."""
        rows, tokens, _ = q.shape
        folded = q.reshape(k.shape[0], -1, q.shape[-1])  # [B, T*H*W, C], a view
        return self.attend(folded, k, v, self.heads, options).reshape(rows, tokens, -1)


def per_row(x: Tensor, rows: int) -> Tensor:
    """`[B, L, C]` repeated for each frame, `[B*T, L, C]`: stock patches expect a row per frame."""
    return x if x.shape[0] == rows else x.repeat_interleave(rows // x.shape[0], dim=0)
