"""The query transformer: CLIP image tokens to text-aligned context.

Source: docs/method.md#query-transformer.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .checkpoint.detect import count_heads
from .frames import QUERIES_PER_FRAME
from .unet.ops import Operations, cast_like
from .variants import MAX_LAYERS


class ProjectionArch(NamedTuple):
    """Dimensions of a query transformer, readable from a checkpoint's shapes."""

    dim: int = 1024
    depth: int = 4
    heads: int = 12
    head_dim: int = 64
    num_latents: int = 256  # 16 per frame; 16 in all where frames share them
    embedding_dim: int = 1280  # width of the image tower
    output_dim: int = 1024
    ff_mult: int = 4

    @property
    def num_frames(self) -> int:
        """Frames that have tokens of their own; 1 = all frames share them."""
        return max(1, self.num_latents // QUERIES_PER_FRAME)


class PerceiverAttention(nn.Module):
    """Learned queries attend to image tokens and to themselves; no biases."""

    def __init__(self, arch: ProjectionArch, *, operations: Operations, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        inner = arch.heads * arch.head_dim
        self.heads = arch.heads
        self.norm1 = operations.LayerNorm(arch.dim, **factory)
        self.norm2 = operations.LayerNorm(arch.dim, **factory)
        self.to_q = operations.Linear(arch.dim, inner, bias=False, **factory)
        self.to_kv = operations.Linear(arch.dim, inner * 2, bias=False, **factory)
        self.to_out = operations.Linear(inner, arch.dim, bias=False, **factory)

    def forward(self, image: Tensor, latents: Tensor) -> Tensor:
        """image: `[B, N, dim]`; latents: `[B, M, dim]`. Returns `[B, M, dim]`."""
        image, latents = self.norm1(image), self.norm2(latents)
        k, v = self.to_kv(torch.cat([image, latents], dim=1)).chunk(2, dim=-1)
        q, k, v = (
            rearrange(x, "b n (h d) -> b h n d", h=self.heads) for x in (self.to_q(latents), k, v)
        )
        out = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))


class Resampler(nn.Module):
    """CLIP image tokens `[B, 257, 1280]` to image context `[B, num_latents, output_dim]`."""

    def __init__(
        self,
        arch: ProjectionArch,
        *,
        operations: Operations = nn,  # type: ignore[assignment]
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        dim = arch.dim
        self.arch = arch
        self.latents = nn.Parameter(torch.zeros(1, arch.num_latents, dim, **factory))
        self.proj_in = operations.Linear(arch.embedding_dim, dim, **factory)
        self.proj_out = operations.Linear(dim, arch.output_dim, **factory)
        self.norm_out = operations.LayerNorm(arch.output_dim, **factory)

        def feed_forward() -> nn.Sequential:
            return nn.Sequential(
                operations.LayerNorm(dim, **factory),
                operations.Linear(dim, dim * arch.ff_mult, bias=False, **factory),
                nn.GELU(),
                operations.Linear(dim * arch.ff_mult, dim, bias=False, **factory),
            )

        self.layers = nn.ModuleList(
            nn.ModuleList(
                [PerceiverAttention(arch, operations=operations, **factory), feed_forward()]
            )
            for _ in range(arch.depth)
        )

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Random queries, as at the start of training: N(0, 1 / dim)."""
        with torch.no_grad():
            self.latents.normal_(std=self.arch.dim**-0.5, generator=generator)

    def forward(self, clip_tokens: Tensor) -> Tensor:
        """clip_tokens: `[B, 257, embedding_dim]`. Returns `[B, num_latents, output_dim]`.

        Where every frame has tokens of its own they are frame-major, 16 per frame.
        """
        latents = cast_like(self.latents, clip_tokens).expand(clip_tokens.shape[0], -1, -1)
        image = self.proj_in(clip_tokens)
        for layer in self.layers:
            attention, feed_forward = layer  # type: ignore[misc]
            latents = latents + attention(image, latents)
            latents = latents + feed_forward(latents)
        return self.norm_out(self.proj_out(latents))


def detect_projection_arch(
    shapes: Mapping[str, tuple[int, ...]], head_dim: int = 64
) -> ProjectionArch:
    """Dimensions from key -> shape, keys without the `image_proj_model.` prefix.

    Raises KeyError when a defining key is missing, ValueError for sizes that no model has.
    """
    dim = shapes["latents"][2]
    depth = len({k.split(".")[1] for k in shapes if k.startswith("layers.")})
    if depth > MAX_LAYERS:
        raise ValueError(f"it has {depth} layers, more than {MAX_LAYERS}")
    if min(shapes["latents"]) < 1:
        raise ValueError(f"its latents have shape {list(shapes['latents'])}; choose another file")
    return ProjectionArch(
        dim=dim,
        depth=depth,
        heads=count_heads(shapes["layers.0.0.to_q.weight"][0], head_dim),
        head_dim=head_dim,
        num_latents=shapes["latents"][1],
        embedding_dim=shapes["proj_in.weight"][1],
        output_dim=shapes["proj_out.weight"][0],
        ff_mult=shapes["layers.0.1.1.weight"][0] // dim,
    )
