"""Sampling that follows a reference video, by the host's inpainting under any sampler.

The host shows the network a held place as its latent under noise of the step's level, and puts the
latent itself into the prediction. Here the latent is the reference's, and the mask changes with the
noise level. Source: docs/motion.md#two-clocks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import comfy.model_sampling
import comfy.utils
import torch
import torch.nn.functional as F
from torch import Tensor

from ...dc_model.motion.clocks import Clocks, held, release_timesteps, steps_to_skip
from ..checks import InputError
from . import keys
from .held_frames import entries, is_last_stage
from .latents import is_squeezed
from .model import resize_latents
from .protocols import Executor, Guider, Options


class Followed(NamedTuple):
    """A reference video: latents `[K, 4, h, w]`, unscaled, K being 1 or a video's frames.

    moved, free: `[1 or K, H, W]` of any size, as `release_timesteps` takes them.
    """

    latents: Tensor
    moved: Tensor
    free: Tensor | None
    clocks: Clocks


def follow_reference(
    executor: Executor,
    guider: Guider,
    sigmas: Tensor,
    extra_args: Options,
    callback: Any,
    noise: Tensor,
    latent_image: Tensor | None = None,
    denoise_mask: Tensor | None = None,
    disable_pbar: bool = False,
) -> Tensor:
    """The host's SAMPLER_SAMPLE wrapper that holds places to the reference until their release.

    What the latent's own mask holds stays as it was. A stage that continues another one takes the
    noise out of its latent, so two stages equal one. Raises InputError when the reference does not
    fit the video.
    """
    options = extra_args["model_options"]
    followed = options.get("transformer_options", {}).get(keys.REFERENCE)
    given = (callback, noise, latent_image, denoise_mask, disable_pbar)
    if followed is None:
        return executor(guider, sigmas, extra_args, *given)
    sampling = _require_discrete(guider.inner_model.model_sampling)
    reference, release = _laid_out(guider, followed, noise)
    mask = (torch.ones_like(noise) if denoise_mask is None else denoise_mask).expand_as(noise)
    ours = mask >= 1
    starts = [int(timestep) for timestep in sampling.timestep(sigmas[:-1]).tolist()]
    begun = ours & held(release, starts[0]) if starts else torch.zeros_like(ours)
    if not bool(begun.any()):
        return executor(guider, sigmas, extra_args, *given)
    image = torch.zeros_like(noise) if latent_image is None else latent_image
    noise = _own_noise(noise, begun, image - reference, sigmas[0])
    clean = torch.where(begun, reference, image)
    skipped = steps_to_skip(torch.where(ours, release, torch.zeros_like(release)), starts)
    last = is_last_stage(sampling, sigmas)
    if skipped == len(starts):
        if last and bool((ours & (release > 0)).any()):
            raise InputError(
                f"Reference Motion holds everything in all {len(starts)} steps, so nothing would "
                "be sampled; take more steps, or raise strong_timestep."
            )
        return clean + sigmas[-1] * noise

    mask_at = _mask_until_release(options, sampling, ours, release)
    arguments = {**extra_args, "model_options": {**options, "denoise_mask_function": mask_at}}
    rest = (_later(callback, skipped), noise, clean, mask, disable_pbar)
    samples = executor(guider, sigmas[skipped:], arguments, *rest)
    kept = clean if last else clean + sigmas[-1] * noise
    return torch.where(begun & (release <= 0), kept, samples)


def _own_noise(noise: Tensor, begun: Tensor, beside: Tensor, sigma: Tensor) -> Tensor:
    """The noise of this run. A stage that continues another one is given none: there it is what
    the latent has beside the reference."""
    if sigma <= 0 or bool(noise[begun].any()):
        return noise
    return torch.where(begun, beside / sigma, noise)


def _mask_until_release(
    options: Options, sampling: Any, ours: Tensor, release: Tensor
) -> Callable[..., Tensor]:
    """The host's mask of each noise level, after one that a node has set before."""
    before = options.get("denoise_mask_function")

    def mask_at(sigma: Tensor, current: Tensor, extra_options: Any = None) -> Tensor:
        if before is not None:
            current = before(sigma, current, extra_options=extra_options)
        # As a tensor: reading the number would wait for the device in every step.
        holds = ours & held(release, sampling.timestep(sigma.reshape(-1)[:1]))
        return torch.where(holds, torch.zeros_like(current), current)

    return mask_at


def _laid_out(guider: Guider, followed: Followed, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Latents in the model's scale `[N*T, 4, h, w]` and releases `[N*T, 1, h, w]`."""
    rows = noise.shape[0]
    frames = next((c["num_video_frames"].cond for _, c in entries(guider.conds)), rows)
    count = followed.latents.shape[0]
    if count not in (1, frames, rows):
        raise InputError(
            f"The reference has {count} frames, the video {frames}; give both the same length, or "
            "the reference 1 frame."
        )
    for masks in (followed.moved, followed.free):
        if masks is not None and masks.shape[0] not in (1, frames, rows):
            raise InputError(
                f"Reference Motion has {masks.shape[0]} masks, the video {frames} frames; give 1 "
                "mask or one for each frame."
            )
    found, wanted = followed.latents.shape[-2:], noise.shape[-2:]
    if is_squeezed(found, wanted):
        raise InputError(
            f"The reference has {found[1] * 8} x {found[0] * 8} pixels, the video "
            f"{wanted[1] * 8} x {wanted[0] * 8}; make it at the video's size."
        )
    latents = guider.inner_model.process_latent_in(followed.latents).to(noise)
    latents = comfy.utils.repeat_to_batch_size(resize_latents(latents, noise), rows)
    moved = _small(followed.moved, noise)
    free = None if followed.free is None else _small(followed.free, noise)
    return latents, release_timesteps(followed.clocks, moved, free)


def _small(masks: Tensor, like: Tensor) -> Tensor:
    """Masks `[K, H, W]` at the latent's size, one for each row: `[N*T, 1, h, w]`."""
    small = F.interpolate(masks[:, None].to(like), like.shape[-2:], mode="area")
    return comfy.utils.repeat_to_batch_size(small, like.shape[0])


def _later(callback: Any, skipped: int) -> Callable[..., Any] | None:
    """The callback, which counts the steps that were skipped, too."""
    if callback is None:
        return None
    return lambda step, clean, x, total: callback(step + skipped, clean, x, total + skipped)


def _require_discrete(sampling: Any) -> Any:
    if not isinstance(sampling, comfy.model_sampling.ModelSamplingDiscrete):
        raise InputError(
            f"Reference Motion counts timesteps, but a node put {type(sampling).__name__}, which "
            "has none, in place of DynamiCrafter's sampling; take that node out."
        )
    return sampling
