"""Matching the colours of a video to a reference image, against drift.

Images are `[T, H, W, 3]` in [0, 1]; statistics are taken over all pixels of a frame.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ..shown import shown

Method = Literal["mean_std", "covariance", "histogram"]
Source = Literal["each_frame", "first_frame"]
# Maps pixels `[P, 3]` to pixels `[P, 3]`.
Transfer = Callable[[Tensor], Tensor]

_SMALLEST_SPREAD = 1e-4
_QUANTILES = 1024


def match_colors(
    frames: Tensor,
    reference: Tensor,
    method: Method,
    source: Source,
    strength: float,
    on_frame: Callable[[], None] | None = None,
) -> Tensor:
    """`frames` with the colour statistics of `reference`: `[T, H, W, 3]`.

    reference: `[1, H, W, 3]`, or `[T, H, W, 3]` for a reference per frame; any size.
    method: "mean_std" per channel; "covariance" also the channels' correlation; "histogram" the
        whole distribution per channel.
    source: "each_frame" matches every frame; "first_frame" moves all frames as the first one needs
        it, which keeps changes of light within the video.
    strength: 0 keeps the frames, 1 matches fully. on_frame: called before every frame.
    Raises ValueError for a wrong number of references, or an unknown method.
    """
    if reference.shape[0] not in (1, frames.shape[0]):
        raise ValueError(
            f"{reference.shape[0]} reference images came with {frames.shape[0]} frames; give 1, or "
            "one for each frame."
        )
    if method not in _TRANSFERS:
        raise ValueError(f"method is '{shown(method)}'; choose {', '.join(_TRANSFERS)}.")
    matched = torch.empty_like(frames)
    transfer: Transfer | None = None
    for i, frame in enumerate(frames):
        if on_frame is not None:
            on_frame()
        pixels = frame.reshape(-1, 3).float()
        if transfer is None or source == "each_frame":
            target = reference[i % reference.shape[0]].reshape(-1, 3).to(pixels)
            transfer = _TRANSFERS[method](pixels, target)
        result = torch.lerp(pixels, transfer(pixels), strength)
        matched[i] = result.clamp(0, 1).reshape(frame.shape)
    return matched


def _mean_std(source: Tensor, target: Tensor) -> Transfer:
    """Moves and stretches each channel. Source: Reinhard et al. 2001, in RGB."""
    # Of the population: a single pixel has no spread, not an unknown one.
    spread = source.std(dim=0, correction=0).clamp(min=_SMALLEST_SPREAD)
    gain = target.std(dim=0, correction=0) / spread
    old, new = source.mean(dim=0), target.mean(dim=0)
    return lambda pixels: (pixels - old) * gain + new


def _covariance(source: Tensor, target: Tensor) -> Transfer:
    """The linear map of least change between two Gaussians (Monge-Kantorovich).

    Source: Pitié and Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping".
    """
    # Three by three, in double precision, which not every device has.
    cov_source, cov_target = (torch.cov(p.T, correction=0).cpu().double() for p in (source, target))
    root = _matrix_power(cov_source, 0.5)
    inverse = _matrix_power(cov_source, -0.5)
    gain = inverse @ _matrix_power(root @ cov_target @ root, 0.5) @ inverse
    gain = gain.to(source)
    old, new = source.mean(dim=0), target.mean(dim=0)
    return lambda pixels: (pixels - old) @ gain.T + new


def _matrix_power(matrix: Tensor, power: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp(min=_SMALLEST_SPREAD**2 if power < 0 else 0.0)
    return vectors @ torch.diag(values**power) @ vectors.T


def _histogram(source: Tensor, target: Tensor) -> Transfer:
    """Sends each channel's quantiles to the target's."""
    count = min(_QUANTILES, len(source), len(target))
    old, new = _quantiles(source, count), _quantiles(target, count)  # [Q, 3]

    def transfer(pixels: Tensor) -> Tensor:
        channels = [_interpolate(pixels[:, c].contiguous(), old[:, c], new[:, c]) for c in range(3)]
        return torch.stack(channels, dim=1)

    return transfer


def _quantiles(pixels: Tensor, count: int) -> Tensor:
    ranked = pixels.sort(dim=0).values
    at = torch.linspace(0, len(ranked) - 1, count, device=ranked.device)
    return ranked[at.round().long()]


def _interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Piecewise linear through `(xs, ys)`; equal neighbours in `xs` take the later one."""
    if len(xs) < 2:
        return ys.expand_as(x)
    xs = xs.contiguous()
    high = torch.searchsorted(xs, x, right=True).clamp(1, len(xs) - 1)
    low = high - 1
    step = (xs[high] - xs[low]).clamp(min=1e-8)
    share = ((x - xs[low]) / step).clamp(0, 1)
    return torch.lerp(ys[low], ys[high], share)


_TRANSFERS: dict[str, Callable[[Tensor, Tensor], Transfer]] = {
    "mean_std": _mean_std,
    "covariance": _covariance,
    "histogram": _histogram,
}
