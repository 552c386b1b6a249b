"""DDIM for the family: the published sampler, and its continuation that ends at a clean latent.

Both take the guided model as the host hands it to samplers, a function of the variance-exploding
state `y = x_0 + sigma * eps` (see `schedule.py`), so any guidance, mask or patch of the host works.

- *published*: the state is the variance-preserving `x_t`, alpha-bar and scale come from the
  schedule's float32 table, and the last step stops at timestep 0 with some noise (at eta > 0) and
  dynamic rescale left on the latent, exactly as the published code does.
- *clean*: everything follows from sigma; a last sigma of 0 gives the clean, unscaled latent. With
  eta 0 this is the Euler method.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..variants import Parameterization
from .schedule import NoiseSchedule, is_published_ending

# (y, sigma) -> guided clean latent.
Denoise = Callable[[Tensor, Tensor], Tensor]
# (sigma, next sigma) -> unit noise.
DrawNoise = Callable[[Tensor, Tensor], Tensor]
# (step, y, sigma, clean latent), called after the model, before the state moves on.
OnStep = Callable[[int, Tensor, Tensor, Tensor], None]


class PublishedStep(NamedTuple):
    """Coefficients of one published step; every value is a float32 number.

    alpha_bar, alpha_bar_next: where the step starts and where it goes.
    rescale: factor on the clean latent that moves it to the next timestep's scale.
    noise: standard deviation of the fresh noise. direction: weight of the predicted noise.
    """

    alpha_bar: float
    alpha_bar_next: float
    rescale: float
    noise: float
    direction: float


def published_steps(schedule: NoiseSchedule, sigmas: Tensor, eta: float) -> list[PublishedStep]:
    """Coefficients of every step from `sigmas[0]` to the last, at timestep 0 by convention.

    They are computed in the published mix of precisions: with zero terminal SNR and eta 1, what
    float32 leaves of `1 - alpha_bar_next - noise^2` in the first step is visible in the result.
    Where it leaves less than nothing, the published sampler gives NaN; here it counts as 0.
    Source: docs/method.md#ddim, docs/differences.md#no-nan-at-zero-terminal-snr.
    """
    alphas, scales = (table.numpy() for table in schedule.table_values(sigmas))
    scales[-1] = scales[-2] if schedule.final_scale == "last" else schedule.scale[0].item()
    start, end = alphas[:-1], alphas[1:]
    noise = _published_noise(start, end, eta)
    left = np.float32(1) - end - noise * noise
    direction = np.sqrt(np.maximum(left, np.float32(0)))
    rescale = scales[1:] / scales[:-1]
    columns = (start, end, rescale, noise, direction)
    return [PublishedStep(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def _published_noise(alphas: np.ndarray, alphas_next: np.ndarray, eta: float) -> np.ndarray:
    """Standard deviation of each step's fresh noise, float32.

    `eta * sqrt((1 - next) / (1 - alpha) * (1 - alpha / next))`, with the reciprocal in float32 and
    the rest in float64, which is what the published mix of torch and NumPy comes to. Its table of
    next values stays float32 when there is one step only.
    """
    if len(alphas_next) > 1:
        alphas_next = alphas_next.astype(np.float64)
    inverse = np.reciprocal(np.float32(1) - alphas)
    # Noise levels that do not fall leave no room for fresh noise.
    fresh = np.maximum(1 - alphas / alphas_next, 0)
    return (eta * np.sqrt((1 - alphas_next) * inverse * fresh)).astype(np.float32)


def published_step(
    step: PublishedStep,
    parameterization: Parameterization,
    x_t: Tensor,
    output: Tensor,
    noise: Tensor | None = None,
) -> Tensor:
    """The next variance-preserving state from the guided network `output` at `x_t`, of its shape.

    noise: unit noise, of that shape, too; None where `step.noise` is 0. The predicted noise comes
    from the prediction before dynamic rescale.
    """
    signal, spread = _float32_roots(step.alpha_bar)
    if parameterization == "v":
        eps = signal * output + spread * x_t
        clean = signal * x_t - spread * output
    else:
        eps = output
        clean = (x_t - spread * output) / signal
    clean = clean * step.rescale
    x_next = _float32_roots(step.alpha_bar_next)[0] * clean + step.direction * eps
    return x_next if noise is None else x_next + step.noise * noise


def _float32_roots(alpha_bar: float) -> tuple[float, float]:
    """(sqrt(alpha_bar), sqrt(1 - alpha_bar)) rounded as float32 arithmetic rounds them."""
    alpha = np.float32(alpha_bar)
    return float(np.sqrt(alpha)), float(np.sqrt(np.float32(1) - alpha))


def clean_steps(schedule: NoiseSchedule, sigmas: Tensor, eta: float) -> list[tuple[float, float]]:
    """(down, up) of every step in sigma: `y_next = D + down * (y - D) + up * noise`, D the clean
    prediction. sigmas: `[steps + 1]`, falling.

    The variance of DDIM's fresh noise carries over with `u = scale * sigma`:
    `up = eta * sigma_next * sqrt(1 - (u_next / u)^2)`, and the old noise fills up to `sigma_next`.
    """
    sigmas = sigmas.cpu()
    u = (sigmas * schedule.scale_at(sigmas)).double()
    start, end = sigmas[:-1].double(), sigmas[1:].double()
    # Noise levels that do not fall leave no room for fresh noise.
    up = eta * end * (1 - (u[1:] / u[:-1]) ** 2).clamp(min=0).sqrt()
    down = (end**2 - up**2).clamp(min=0).sqrt() / start
    return list(zip(down.tolist(), up.tolist(), strict=True))


def sample_ddim(
    denoise: Denoise,
    y: Tensor,
    sigmas: Tensor,
    schedule: NoiseSchedule,
    eta: float,
    draw_noise: DrawNoise,
    on_step: OnStep | None = None,
    start_noise: Tensor | None = None,
) -> Tensor:
    """Run DDIM from state `y` along `sigmas` and return the last state.

    y: any shape, variance exploding, at `sigmas[0]`.
    eta: 0 deterministic, 1 the published default.
    draw_noise: called once per step that adds noise, so never at eta 0 or in a step to sigma 0.
    start_noise: unit noise to start the published method from instead of `y`: the published code
        does so below the last timestep too, where the host's `y` is a little larger.

    Sigmas that end at the noise level of timestep 0 select the published method, which returns
    `x_t` unconverted; any other last sigma is stepped to in sigma. Fewer than two sigmas return
    `y`.
    """
    if len(sigmas) < 2:
        return y
    if is_published_ending(schedule, sigmas):
        return _sample_published(
            denoise, y, sigmas, schedule, eta, draw_noise, on_step, start_noise
        )
    for i, (down, up) in enumerate(clean_steps(schedule, sigmas, eta)):
        sigma = sigmas[i]
        clean = denoise(y, sigma)
        if on_step is not None:
            on_step(i, y, sigma, clean)
        y = clean + down * (y - clean)
        if up > 0.0:
            y = y + up * draw_noise(sigma, sigmas[i + 1])
    return y


def _sample_published(
    denoise: Denoise,
    y: Tensor,
    sigmas: Tensor,
    schedule: NoiseSchedule,
    eta: float,
    draw_noise: DrawNoise,
    on_step: OnStep | None,
    start_noise: Tensor | None,
) -> Tensor:
    x_t = schedule.model_input(sigmas[0], y) if start_noise is None else start_noise
    for i, step in enumerate(published_steps(schedule, sigmas, eta)):
        sigma = sigmas[i]
        y = schedule.state_from_model_input(sigma, x_t)
        clean = denoise(y, sigma)
        if on_step is not None:
            on_step(i, y, sigma, clean)
        output = schedule.output_from_denoised(sigma, clean, y)
        noise = draw_noise(sigma, sigmas[i + 1]) if eta > 0.0 else None
        x_t = published_step(step, schedule.parameterization, x_t, output, noise)
    return x_t
