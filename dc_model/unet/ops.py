"""What the networks take from outside: layer constructors and the attention function.

A host passes its own (`comfy.ops.manual_cast`, `optimized_attention`), so casting, offloading
and attention back ends stay its business; a trainer passes `torch.nn` and `sdpa`.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Operations(Protocol):
    """Layer constructors with `torch.nn`'s signatures, `dtype` and `device` included."""

    Linear: Any
    Conv1d: Any
    Conv2d: Any
    Conv3d: Any
    GroupNorm: Any
    LayerNorm: Any


class Attention(Protocol):
    """Multi-head attention on packed heads.

    q: `[B, Nq, heads * dim]`; k, v: `[B, Nk, heads * dim]`. Returns `[B, Nq, heads * dim]`. The
    softmax scale is `dim ** -0.5`. `transformer_options` lets a host override the back end.
    """

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: Mapping[str, Any]
    ) -> Tensor: ...


def sdpa(
    q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: Mapping[str, Any]
) -> Tensor:
    """`Attention` by PyTorch's scaled dot product; ignores `transformer_options`."""
    del transformer_options
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, N, D]
    out = F.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).flatten(-2)  # [B, Nq, heads * D]


def eager_attention_on_cpu(
    q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: Mapping[str, Any]
) -> Tensor:
    """`Attention` whose backward is fast on CPUs; elsewhere `sdpa`.

    PyTorch's own fused attention takes a third of a small model's CPU training step.
    """
    if q.device.type != "cpu":
        return sdpa(q, k, v, heads, transformer_options)
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, N, D]
    weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).softmax(dim=-1)
    return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(-2)  # [B, Nq, heads * D]


def cast_like(parameter: Tensor, x: Tensor) -> Tensor:
    """A bare parameter on the device and in the dtype of `x` (layers cast their own weights)."""
    return parameter.to(device=x.device, dtype=x.dtype)


def add_in_order(a: Tensor, b: Tensor, order: tuple[int, ...]) -> Tensor:
    """`a + b`, stored with the dimensions in `order`, the slowest first.

    A sum that is laid out for what reads it next saves the copy in between. With gradients, or
    under `torch.compile`, which lays out by itself, it is the plain sum.
    """
    if torch.compiler.is_compiling() or (
        torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    ):
        return a + b
    places = [order.index(dim) for dim in range(a.ndim)]
    dtype = torch.result_type(a, b)
    out = a.new_empty([a.shape[dim] for dim in order], dtype=dtype).permute(places)
    return torch.add(a, b, out=out)


def timestep_embedding(values: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Sinusoidal embedding, cosines first.

    values: `[B]`, fractional ones allowed. Returns float32 `[B, dim]`, `dim` even.
    Source: docs/method.md#embeddings.
    """
    half = dim // 2
    exponent = torch.arange(half, dtype=torch.float32, device=values.device) / half
    frequencies = torch.exp(-math.log(max_period) * exponent)
    angles = values.float()[:, None] * frequencies[None]  # [B, half]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)  # [B, dim]
