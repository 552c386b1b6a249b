"""Conditions as training sees them: dropping, condition frames, concat latents, CIL's noise.

Every random choice of a sample comes from that sample's own generator, so it does not depend on
batch size, process count or where a run was resumed. Source: docs/method.md#dropped-conditions.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dc_model import vdg

ConcatMode = Literal["first", "random", "interpolate", "loop", "none"]

# Conditional image leakage: beta_m and a of its TimeNoise.
CIL_MAX_NOISE = 100.0
CIL_EXPONENT = 5


@dataclass(frozen=True, slots=True)
class Dropped:
    """Which conditions a sample goes without. The concat latents are never dropped."""

    text: bool
    image: bool


def dropped(r: float, probability: float) -> Dropped:
    """The published rule from one uniform `r`: text if r < 2p, image if p <= r < 3p.

    So a share p loses its text alone, p both, p its image alone.
    """
    return Dropped(text=r < 2 * probability, image=probability <= r < 3 * probability)


def choose_mode(weights: dict[ConcatMode, float], generator: torch.Generator) -> ConcatMode:
    """A concat mode drawn by weight. Raises ValueError when no weight is positive."""
    total = sum(weights.values())
    if total <= 0:
        raise ValueError(f"The concat modes {weights} have no positive weight; give one.")
    u = float(torch.rand((), generator=generator, dtype=torch.float64)) * total
    for mode, weight in weights.items():
        if u < weight:
            return mode
        u -= weight
    return next(m for m in reversed(list(weights)) if weights[m] > 0)


def condition_frame(mode: ConcatMode, num_frames: int, generator: torch.Generator) -> int:
    """The frame that both streams are conditioned on: uniform for "random", else the first."""
    if mode != "random":
        return 0
    return int(torch.randint(num_frames, (), generator=generator))


def concat_latents(latents: Tensor, mode: ConcatMode, frame: int) -> Tensor | None:
    """What joins the noise. latents: `[C, T, H, W]` of the clip itself; returns the same shape.

    "interpolate" takes the clip's two ends, "loop" its first frame twice (the target clip
    must then be a `palindrome`). "none" returns None: a text-to-video model has no such input.
    """
    if mode == "none":
        return None
    num_frames = latents.shape[1]
    first = latents[None, :, frame]
    if mode == "interpolate":
        return vdg.interpolate(first, latents[None, :, -1], num_frames)[0]
    if mode == "loop":
        return vdg.loop(first, num_frames)[0]
    return vdg.animate(first, num_frames)[0]


def palindrome(latents: Tensor) -> Tensor:
    """A clip that returns: forward on even frames, then backward. `[C, T, H, W]`, T even or odd.

    Real loops are rare in data; playing a clip to its middle and back makes one.
    """
    num_frames = latents.shape[1]
    half = (num_frames + 1) // 2
    there = torch.linspace(0, num_frames - 1, half).round().long()
    back = there.flip(0) if num_frames % 2 == 0 else there.flip(0)[1:]
    return latents[:, torch.cat([there, back])]


def cil_noise_scale(timestep: int, generator: torch.Generator) -> float:
    """Standard deviation of CIL's noise on the concat latents at `timestep` (of 1000).

    `beta_m * sigmoid(N(mu, 1))`, `mu = 2 (t / 1000)^5 - 1`.
    Source: docs/method.md#noise-on-the-condition.
    """
    mean = 2 * (timestep / 1000) ** CIL_EXPONENT - 1
    z = torch.randn((), generator=generator, dtype=torch.float64) + mean
    return CIL_MAX_NOISE * float(torch.sigmoid(z))
