"""Videos of a model under guidance, by the published sampler, in plain PyTorch."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..variants import Spacing
from .ddim import sample_ddim
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
) -> Tensor:
    """Latents `[B, 4, T, h, w]` from unit `noise` of that shape.

    model: a `dc_model.pipeline.VideoModel`, or what is called like it. text, null_text:
    `[B, 77, C]`; image tokens before the query transformer, `[B, 257, D]`. With `cfg` 1 the
    unconditional branch is not run. image_cfg: a scale of its own for the image, one more branch;
    `cfg` is the text's then.
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

    start = schedule.state_from_model_input(sigmas[0], noise)
    return sample_ddim(denoise, start, sigmas, schedule, eta, draw)
