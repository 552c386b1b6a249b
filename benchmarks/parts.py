"""What a video needs besides the U-Net, and a whole run from picture to picture.

Each network is made when its part begins and freed when it ends, so the largest alone decides how
much memory a run needs.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dc_model.encoders.autoencoder import Autoencoder
from dc_model.encoders.clip import IMAGE_SIZE, VOCABULARY, Towers
from dc_model.projection import Resampler
from dc_model.sampling.ddim import sample_ddim
from dc_model.sampling.schedule import ddim_sigmas, schedule_of, timesteps
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import VARIANTS

from .counting import TEXT_TOKENS, count
from .device import Rates, seconds
from .networks import Networks, Where
from .step import guided, random_conditioning
from .timing import in_turn
from .unet import Workload, entry


def encode(
    towers: Towers,
    projector: Resampler,
    vae: Autoencoder,
    tokens: Tensor,
    small: Tensor,
    full: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Text context, image context and latent of a prompt and a picture, and of the empty ones.

    tokens: `[2, 77]`; small: `[2, 3, 224, 224]` for CLIP; full: `[1, 3, H, W]` for the VAE.
    """
    return towers.text(tokens), projector(towers.visual(small)), vae.encode(full)


def decode(vae: Autoencoder, latents: Tensor) -> Tensor:
    """Frames `[T, 3, H, W]` of latents `[T, 4, h, w]`, one at a time."""
    return torch.cat([vae.decode(frame) for frame in latents.split(1)])


def encoding(networks: Networks, where: Where, size: tuple[int, int]) -> Callable[[], object]:
    """`encode` for a picture of latent size (h, w)."""
    towers, vae = networks.make_towers(where), networks.make_vae(where)
    projector = networks.make_projector(where)
    tokens = torch.arange(2 * TEXT_TOKENS, device=where.device).view(2, -1) % VOCABULARY
    small = where.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    full = where.randn(1, 3, 8 * size[0], 8 * size[1])
    return lambda: encode(towers, projector, vae, tokens, small, full)


def decoding(networks: Networks, where: Where, work: Workload) -> Callable[[], object]:
    """`decode` for one video."""
    vae = networks.make_vae(where)
    latents = where.randn(work.frames, networks.vae.z_channels, *work.size)
    return lambda: decode(vae, latents)


def measure_encoders(
    networks: Networks, where: Where, work: Workload, repeats: int, rates: Rates
) -> dict[str, Any]:
    """Text, image and latent of one video, with guidance."""
    return _measure(lambda place: encoding(networks, place, work.size), where, repeats, rates)


def measure_decode(
    networks: Networks, where: Where, work: Workload, repeats: int, rates: Rates
) -> dict[str, Any]:
    """All frames of one video."""
    return _measure(lambda place: decoding(networks, place, work), where, repeats, rates)


def _measure(
    make: Callable[[Where], Callable[[], object]], where: Where, repeats: int, rates: Rates
) -> dict[str, Any]:
    run = make(where)
    if where.device.type != "cpu":
        run()
    times = in_turn({"part": run}, repeats, where.device)["part"]
    del run
    with torch.inference_mode(False):
        shapes_only = make(Where(torch.device("meta"), where.dtype))
    cost = count(shapes_only)
    return entry(times, cost.flops, cost.bytes, rates)


def measure_sampling(
    unet: DynamiCrafterUNet, where: Where, name: str, work: Workload, steps: int
) -> float:
    """Seconds of the published sampler with guidance, the video's state in float32."""
    variant = VARIANTS[name]
    schedule = schedule_of(variant)
    sigmas = ddim_sigmas(schedule, timesteps(steps, variant.spacing), "clean").to(where.device)
    words, empty = (
        random_conditioning(where, unet.arch.context_dim, work.videos, work.frames, seed)
        for seed in (1, 10)
    )
    shape = (work.videos, unet.arch.out_channels, work.frames, *work.size)
    concat = where.randn(work.videos, unet.arch.in_channels - shape[1], *shape[2:])
    noise = where.randn(*shape, seed=30).float()

    def denoise(y: Tensor, sigma: Tensor) -> Tensor:
        x = schedule.model_input(sigma, y).to(where.dtype)
        t = torch.full((len(y),), schedule.timestep_of(sigma)[0], device=where.device)
        out = guided(unet, torch.cat([x, concat], dim=1), t, words, empty)
        return schedule.denoised(sigma, out.float(), y)

    def run() -> Tensor:
        start = schedule.state_from_model_input(sigmas[0], noise)
        return sample_ddim(
            denoise, start, sigmas, schedule, 1.0, lambda *_: torch.randn_like(noise)
        )

    return seconds(run, where.device)
