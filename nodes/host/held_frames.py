"""Frames that keep their latents while the others are sampled, in one stage or in several.

The host's inpainting shows the network a held place as its latent under noise of the step's level,
and puts the latent itself into the prediction. It takes both from what the stage was given. A stage
that continues another one is given their sum and no noise, so inpainting would hold the noise.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...dc_model.sampling.schedule import is_published_ending
from ..checks import InputError
from . import keys
from .model import DynamiCrafterSampling, resize_latents
from .protocols import Callback, Conds, Executor, Guider, Options

# Modes in which a frame's latent is an image for that very frame; in the others the first frame's.
PLACED = ("interpolate", "loop", "keyframes")


class Known(NamedTuple):
    """Latents `[N*T, 4, h, w]` in the model's scale; rows: which are known, `[N*T, 1, 1, 1]`."""

    latents: Tensor
    rows: Tensor


def hold_frames(
    executor: Executor,
    guider: Guider,
    sigmas: Tensor,
    extra_args: Options,
    callback: Callback,
    noise: Tensor,
    latent_image: Tensor | None = None,
    denoise_mask: Tensor | None = None,
    disable_pbar: bool = False,
) -> Tensor:
    """The host's SAMPLER_SAMPLE wrapper that gives its inpainting clean latents in every stage.

    Raises InputError where a later stage would hold places whose clean latents are not known.
    """
    options = extra_args["model_options"].get("transformer_options", {})
    pinned_frames = options.get(keys.PINNED_FRAMES)
    start, end = float(sigmas[0]), float(sigmas[-1])
    continues = start > 0 and not bool(noise.any())
    known = extended_rows(guider, noise) if continues else nothing_known(noise)
    if denoise_mask is None and pinned_frames is None and not bool(known.rows.any()):
        return executor(
            guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar
        )
    image = torch.zeros_like(noise) if latent_image is None else latent_image
    # A latent that was saved and loaded between the stages has lost its mask.
    mask = (~known.rows).to(noise) if denoise_mask is None else denoise_mask
    mask = mask.expand_as(noise)
    if pinned_frames is not None:
        pinned = pinned_rows(guider.conds, noise, mask, pinned_frames)
        known = Known(
            torch.where(pinned.rows, pinned.latents, known.latents), known.rows | pinned.rows
        )
        mask = torch.where(pinned.rows, torch.zeros_like(mask), mask)
    clean = torch.where(known.rows, known.latents, image)
    if continues:
        held = mask < 1
        _require_known(held & ~known.rows)
        noise = torch.where(held, (image - clean) / start, noise)
        clean = torch.where(held, clean, image)
    last = is_last_stage(guider.inner_model.model_sampling, sigmas)
    samples = executor(guider, sigmas, extra_args, callback, noise, clean, mask, disable_pbar)
    return torch.where(mask == 0, clean if last else clean + end * noise, samples)


def nothing_known(noise: Tensor) -> Known:
    """No frame has a latent of its own."""
    rows = torch.zeros(noise.shape[0], 1, 1, 1, dtype=torch.bool, device=noise.device)
    return Known(torch.zeros_like(noise), rows)


def extended_rows(guider: Guider, noise: Tensor) -> Known:
    """The first frames of an extended video, as Extend left them in the conditioning."""
    for entry, conds in entries(guider.conds):
        frames = conds["num_video_frames"].cond
        # Otherwise the batch is a piece of the video, at an unknown place.
        given = entry.get(keys.HELD_LATENTS)
        if given is not None and entry.get(keys.NUM_FRAMES) == frames:
            held = guider.inner_model.process_latent_in(given).to(noise)
            held = resize_latents(held, noise)
            latents, rows = nothing_known(noise)
            for first in range(0, noise.shape[0], frames):
                latents[first : first + held.shape[0]] = held
                rows[first : first + held.shape[0]] = True
            return Known(latents, rows)
    return nothing_known(noise)


def pinned_rows(conds: Conds, noise: Tensor, mask: Tensor, frames: str) -> Known:
    """The images of Visual Detail Guidance for the frames to pin: `first` or `given`.

    What `mask` holds already, such as an extended video's start, stays as it is. Raises InputError
    where no conditioning has an image.
    """
    for entry, model_conds in entries(conds):
        if "c_concat" in model_conds:
            concat = model_conds["c_concat"].cond
            num_frames = model_conds["num_video_frames"].cond
            rows = given_rows(concat, num_frames, frames, entry.get(keys.MODE, "animate"))
            rows &= mask.flatten(1).any(dim=1).to(rows.device)
            return Known(concat.to(noise), rows[:, None, None, None].to(noise.device))
    raise InputError(
        "Pin First Frame found no image in the conditionings; put Visual Detail Guidance between "
        "the prompts and the sampler."
    )


def given_rows(concat: Tensor, num_frames: int, frames: str, mode: str) -> Tensor:
    """Which rows of the latent batch to pin: bool `[N*T]`.

    concat: visual detail guidance of `mode`, `[N*T, 4, h, w]`, zeros where no image was given.
    """
    given = concat.flatten(1).any(dim=1).unflatten(0, (-1, num_frames))  # [N, T]
    if frames == "first" or mode not in PLACED:
        given = torch.zeros_like(given)
        given[:, 0] = True
    return given.flatten()


def entries(conds: Conds) -> Iterator[tuple[Options, Options]]:
    """Every conditioning's entries, each with the network's arguments that became of it."""
    for conditioning in conds.values():
        for entry in conditioning or ():
            if "num_video_frames" in entry.get("model_conds", {}):
                yield entry, entry["model_conds"]


def _require_known(unknown: Tensor) -> None:
    if bool(unknown.any()):
        frames = int(unknown.flatten(1).any(dim=1).sum())
        raise InputError(
            "This stage continues another one (it adds no noise), and its latent's noise mask "
            f"holds places in {frames} of {unknown.shape[0]} frames. Of those it has only the "
            "noise that the stage before left; sample with this mask in one stage, or hold frames "
            "with Extend Video or Pin First Frame, which work in several."
        )


def is_last_stage(sampling: Any, sigmas: Tensor) -> bool:
    """Whether the sigmas lead to the finished latent, not to a hand-over between stages."""
    if float(sigmas[-1]) == 0:
        return True
    return isinstance(sampling, DynamiCrafterSampling) and is_published_ending(
        sampling.schedule, sigmas
    )
