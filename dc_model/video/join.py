"""Joining videos that share frames, so no frame is doubled and no seam shows."""

import torch
from torch import Tensor


def crossfade_weights(overlap: int) -> Tensor:
    """Share of the second video in each shared frame: float32 `[overlap]`, rising within (0, 1)."""
    return torch.arange(1, overlap + 1) / (overlap + 1)


def join(first: Tensor, second: Tensor, overlap: int) -> Tensor:
    """One video whose middle is the shared frames of both, cross-faded.

    first, second: `[T, H, W, C]`; the last `overlap` frames of `first` are the first ones of
    `second`. Returns `[T1 + T2 - overlap, H, W, C]`. Raises ValueError when the sizes differ or a
    video is shorter than the overlap.
    """
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"The videos to join have frames of {list(first.shape[1:])} and "
            f"{list(second.shape[1:])}; give both the same size."
        )
    shortest = min(first.shape[0], second.shape[0])
    if not 0 <= overlap <= shortest:
        raise ValueError(
            f"The videos to join share {overlap} frames, but the shorter has {shortest}; choose an "
            f"overlap of 0 to {shortest}."
        )
    if overlap == 0:
        return torch.cat([first, second])
    weights = crossfade_weights(overlap).to(first)[:, None, None, None]
    shared = torch.lerp(first[-overlap:], second[:overlap].to(first), weights)
    return torch.cat([first[:-overlap], shared, second[overlap:].to(first)])
