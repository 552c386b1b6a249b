"""Matching the colours of a video to a reference image, against drift.

Images are `[T, H, W, 3]` in [0, 1]; statistics are taken over all pixels of a frame.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ..shown import shown

Method = Literal["mean_std", "covariance", "histogram"]
Source = Literal["each_frame", "first_frame"]
# Maps pixels `[P, 3]` to pixels `[P, 3]`.
Transfer = Callable[[Tensor], Tensor]

# Colours that spread less in the frame that decides are moved, not stretched. Where it decides for
# all frames, one step of 8 bits: a dark first frame would make white of the next ones.
_FLAT: dict[str, float] = {"each_frame": 1e-4, "first_frame": 1 / 255}
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
        whole distribution per channel. A frame without spread, such as a black one, is only moved.
    source: "each_frame" matches every frame; "first_frame" moves all frames as the first one needs
        it, which keeps changes of light within the video.
    strength: 0 keeps the frames, 1 matches fully; above 0 results are clamped to [0, 1].
    on_frame: called before every frame.
    Raises ValueError for a wrong number of references, or an unknown method.
    """
    if reference.shape[0] not in (1, frames.shape[0]):
        raise ValueError(
            f"{reference.shape[0]} reference images came with {frames.shape[0]} frames; give 1, or "
            "one for each frame."
        )
    if method not in _METHODS:
        raise ValueError(f"method is '{shown(method)}'; choose {', '.join(_METHODS)}.")
    if strength == 0:
        return frames
    describe, transfer_between = _METHODS[method]
    matched = torch.empty_like(frames)
    wanted, transfer = None, None
    for i, frame in enumerate(frames):
        if on_frame is not None:
            on_frame()
        pixels = frame.reshape(-1, 3).float()
        if transfer is None or source == "each_frame":
            # A photograph takes long to describe: once where it serves all frames.
            if wanted is None or reference.shape[0] > 1:
                wanted = describe(reference[i % reference.shape[0]].reshape(-1, 3).to(pixels))
            transfer = transfer_between(describe(pixels), wanted, _FLAT[source])
        result = torch.lerp(pixels, transfer(pixels), strength)
        matched[i] = result.clamp(0, 1).reshape(frame.shape)
    return matched


def _mean_std(pixels: Tensor) -> tuple[Tensor, Tensor]:
    # Of the population: a single pixel has no spread, not an unknown one.
    return pixels.mean(dim=0), pixels.std(dim=0, correction=0)


def _stretch(old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], flat: float) -> Transfer:
    """Moves and stretches each channel. Source: Reinhard et al. 2001, in RGB."""
    (old_mean, old_spread), (new_mean, new_spread) = old, new
    gain = torch.where(old_spread < flat, 1.0, new_spread / old_spread)
    return lambda pixels: (pixels - old_mean) * gain + new_mean


def _mean_covariance(pixels: Tensor) -> tuple[Tensor, Tensor]:
    # Three by three, in double precision, which not every device has.
    return pixels.mean(dim=0), torch.cov(pixels.T, correction=0).cpu().double()


def _transport(old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], flat: float) -> Transfer:
    """The linear map of least change between two Gaussians (Monge-Kantorovich).

    Source: Pitié and Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping".
    """
    (old_mean, old_covariance), (new_mean, new_covariance) = old, new
    values, axes = torch.linalg.eigh(old_covariance)
    spread = values.clamp(min=0).sqrt()
    moved = (spread < flat).double()
    root = axes @ torch.diag(spread) @ axes.T
    inverse = axes @ torch.diag((1 - moved) / spread.clamp(min=1e-12)) @ axes.T
    gain = inverse @ _root(root @ new_covariance @ root) @ inverse
    gain = (gain + axes @ torch.diag(moved) @ axes.T).to(old_mean)
    return lambda pixels: (pixels - old_mean) @ gain.T + new_mean


def _root(matrix: Tensor) -> Tensor:
    values, axes = torch.linalg.eigh(matrix)
    return axes @ torch.diag(values.clamp(min=0).sqrt()) @ axes.T


def _quantiles(pixels: Tensor) -> Tensor:
    """Of each channel, at most 1024 and at least two: `[Q, 3]`."""
    ranked = pixels.sort(dim=0).values
    return _evenly(ranked, min(_QUANTILES, len(ranked))) if len(ranked) > 1 else ranked.expand(2, 3)


def _evenly(ranked: Tensor, count: int) -> Tensor:
    """`count` of the rows, two or more, from the first to the last."""
    at = torch.arange(count, device=ranked.device)
    # In integers: float32 cannot count the pixels of a photograph.
    return ranked[(2 * at * (len(ranked) - 1) + count - 1) // (2 * (count - 1))]


def _rank(old: Tensor, new: Tensor, flat: float) -> Transfer:
    """Sends each channel's quantiles to the target's."""
    count = min(len(old), len(new))
    xs, ys = _evenly(old, count), _evenly(new, count)

    def transfer(pixels: Tensor) -> Tensor:
        channels = [_interpolate(pixels[:, c], xs[:, c], ys[:, c], flat) for c in range(3)]
        return torch.stack(channels, dim=1)

    return transfer


def _interpolate(x: Tensor, xs: Tensor, ys: Tensor, flat: float) -> Tensor:
    """Piecewise linear through `(xs, ys)`, which rise; equal neighbours in `xs` take the later one.

    x moved as a whole where `xs` are all within `flat`.
    """
    if xs[-1] - xs[0] < flat:
        return x - xs.mean() + ys.mean()
    xs, x = xs.contiguous(), x.contiguous()
    high = torch.searchsorted(xs, x, right=True).clamp(1, len(xs) - 1)
    low = high - 1
    step = (xs[high] - xs[low]).clamp(min=1e-8)
    share = ((x - xs[low]) / step).clamp(0, 1)
    return torch.lerp(ys[low], ys[high], share)


# How colours are described, and what leads from one description to another.
_METHODS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Any, Any, float], Transfer]]] = {
    "mean_std": (_mean_std, _stretch),
    "covariance": (_mean_covariance, _transport),
    "histogram": (_quantiles, _rank),
}
