"""Relative positions along time (VideoCrafter 1, text to video).

Source: docs/method.md#relative-positions.
"""

import torch
from torch import Tensor, nn

from .ops import cast_like


class RelativePosition(nn.Module):
    """A learned vector per clipped distance between two frames."""

    def __init__(self, head_dim: int, max_distance: int, *, dtype=None, device=None):
        super().__init__()
        self.max_distance = max_distance
        self.embeddings_table = nn.Parameter(
            torch.zeros(2 * max_distance + 1, head_dim, dtype=dtype, device=device)
        )

    def forward(self, length: int, like: Tensor) -> Tensor:
        """Vectors `[length, length, head_dim]`, query first; distances beyond the table clamp."""
        frames = torch.arange(length, device=like.device)
        distance = frames[None, :] - frames[:, None]  # [query, key]
        index = distance.clamp(-self.max_distance, self.max_distance) + self.max_distance
        return cast_like(self.embeddings_table, like)[index]


def relative_attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, relative_k: Tensor, relative_v: Tensor
) -> Tensor:
    """Self-attention with relative vectors added to keys and values.

    q, k, v: `[N, L, heads * D]`; relative_k, relative_v: `[L, L, D]`. Returns `[N, L, heads * D]`.
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [N, heads, L, D]
    scale = q.shape[-1] ** -0.5
    similarity = q @ k.transpose(-1, -2) + torch.einsum("nhld,lmd->nhlm", q, relative_k)
    weights = (similarity.float() * scale).softmax(dim=-1).to(v.dtype)  # [N, heads, L, L]
    out = weights @ v + torch.einsum("nhlm,lmd->nhld", weights, relative_v)
    return out.transpose(1, 2).flatten(-2)  # [N, L, heads * D]
