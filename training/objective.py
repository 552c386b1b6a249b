"""What the network is asked to predict: noised latents, targets, the loss.

Source: docs/method.md#objective.
"""

from typing import Literal

import torch
from torch import Tensor

from dc_model.sampling.schedule import NoiseSchedule

TimestepSampling = Literal["uniform", "late"]


def draw_timestep(sampling: TimestepSampling, generator: torch.Generator, count: int = 1000) -> int:
    """One timestep in 0 .. count - 1.

    "uniform" is published. "late" has density rising with t (t = 1 - (1 - u)^2): on a small budget
    motion, which is decided at high noise, is learned several times faster.
    """
    u = float(torch.rand((), generator=generator, dtype=torch.float64))
    if sampling == "late":
        u = 1 - (1 - u) ** 2
    return min(int(u * count), count - 1)


def add_noise(
    schedule: NoiseSchedule, clean: Tensor, noise: Tensor, timesteps: Tensor
) -> tuple[Tensor, Tensor]:
    """The noisy latents and the target.

    clean, noise: `[B, C, T, H, W]`; timesteps: int64 `[B]`. Dynamic rescale shrinks the clean
    latent first: `x0 = scale[t] clean`, `x_t = sqrt(a) x0 + sqrt(1 - a) noise`; the target is the
    noise, or `v = sqrt(a) noise - sqrt(1 - a) x0`.
    """
    shape = (-1, *([1] * (clean.ndim - 1)))
    alpha = schedule.alphas_cumprod.to(clean.device)[timesteps].reshape(shape)
    scale = schedule.scale.to(clean.device)[timesteps].reshape(shape)
    signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
    x0 = clean * scale
    noisy = signal * x0 + spread * noise
    target = noise if schedule.parameterization == "eps" else signal * noise - spread * x0
    return noisy, target


def sample_losses(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each video, `[B]`."""
    return (output.float() - target.float()).square().flatten(1).mean(dim=1)
