"""Videos of a model under guidance, by the published sampler, in plain PyTorch."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..motion.clocks import Reference, held, steps_to_skip
from ..variants import Spacing
from .ddim import Denoise, DrawNoise, sample_ddim
from .guidance import classifier_free, rescale_guidance, two_scale
from .schedule import Ending, NoiseSchedule, ddim_sigmas, timesteps


@torch.no_grad()
def sample_videos(
    model: Callable[..., Tensor],
    schedule: NoiseSchedule,
    *,
    noise: Tensor,
    concat: Tensor | None,
    text: Tensor,
    null_text: Tensor,
    image_tokens: Tensor | None,
    null_image_tokens: Tensor | None,
    speed: Tensor,
    steps: int = 25,
    cfg: float = 1.0,
    image_cfg: float | None = None,
    guidance_rescale: float = 0.0,
    spacing: Spacing = "uniform_trailing",
    eta: float = 0.0,
    ending: Ending = "clean",
    generator: torch.Generator | None = None,
    reference: Reference | None = None,
) -> Tensor:
    """Latents `[B, 4, T, h, w]` from unit `noise` of that shape.

    model: a `dc_model.pipeline.VideoModel`, or what is called like it. text, null_text:
    `[B, 77, C]`; image tokens before the query transformer, `[B, 257, D]`. With `cfg` 1 the
    unconditional branch is not run. image_cfg: a scale of its own for the image, one more branch;
    `cfg` is the text's then. reference: a video to follow.
    """
    sigmas = ddim_sigmas(schedule, timesteps(steps, spacing), ending).to(noise.device)

    def predict(x: Tensor, t: Tensor, words: Tensor, tokens: Tensor | None) -> Tensor:
        return model(x, concat, t, words, tokens, speed).float()

    def denoise(y: Tensor, sigma: Tensor) -> Tensor:
        x = schedule.model_input(sigma, y)
        t = torch.full((len(y),), schedule.timestep_of(sigma)[0], device=y.device)
        out = predict(x, t, text, image_tokens)
        if cfg != 1.0 or image_cfg is not None:
            null = predict(x, t, null_text, null_image_tokens)
            if image_cfg is None:
                guided = classifier_free(out, null, cfg)
            else:
                image_only = predict(x, t, null_text, image_tokens)
                guided = two_scale(out, image_only, null, cfg, image_cfg)
            out = rescale_guidance(guided, out, guidance_rescale) if guidance_rescale else guided
        return schedule.denoised(sigma, out, y)

    def draw(_sigma: Tensor, _next: Tensor) -> Tensor:
        return torch.randn(noise.shape, generator=generator).to(noise)

    if reference is None:
        start = schedule.state_from_model_input(sigmas[0], noise)
        return sample_ddim(denoise, start, sigmas, schedule, eta, draw)
    return _follow(reference, denoise, noise, sigmas, schedule, eta, draw)


def _follow(
    reference: Reference,
    denoise: Denoise,
    noise: Tensor,
    sigmas: Tensor,
    schedule: NoiseSchedule,
    eta: float,
    draw: DrawNoise,
) -> Tensor:
    """As `sample_ddim` from `noise`, held to the reference until each place is released."""
    starts = [schedule.timestep_of(sigma)[0] for sigma in sigmas[:-1]]
    sigmas = sigmas[steps_to_skip(reference.release, starts) :]
    if len(sigmas) < 2:
        return reference.latents.expand_as(noise)

    def hold(y: Tensor, sigma: Tensor) -> Tensor:
        timestep = schedule.timestep_of(sigma)[0]
        clean = denoise(reference.hold(y, sigma, timestep, noise), sigma)
        return reference.keep(clean, timestep)

    # Where all is held at first, sampling begins from the reference as it is at its release.
    begun = reference.noised(sigmas[0], noise)
    plain = schedule.state_from_model_input(sigmas[0], noise)
    start = torch.where(held(reference.release, starts[0]), begun, plain)
    return reference.finish(sample_ddim(hold, start, sigmas, schedule, eta, draw))
