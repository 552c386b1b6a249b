"""Pin First Frame: the video keeps the given image, not one that resembles it."""

from typing import Any

import comfy.patcher_extension
import torch
from comfy_api.latest import io
from torch import Tensor

from ..dc_model.sampling.schedule import is_published_ending
from .door import checked
from .errors import InputError
from .host import keys
from .host.guider import require_model
from .host.model import DynamiCrafterSampling
from .types import CATEGORY

WRAPPER_KEY = "dynamicrafter_pin_frames"
FRAMES = ["first", "given"]


# Modes in which a frame's latent is an image for that very frame; in the others the first frame's.
PLACED = ("interpolate", "loop", "keyframes")


def given_rows(concat: Tensor, num_frames: int, frames: str, mode: str) -> Tensor:
    """Which rows of the latent batch to pin: bool `[N*T]`.

    concat: visual detail guidance of `mode`, `[N*T, 4, h, w]`, zeros where no image was given.
    """
    given = concat.flatten(1).any(dim=1).unflatten(0, (-1, num_frames))  # [N, T]
    if frames == "first" or mode not in PLACED:
        given = torch.zeros_like(given)
        given[:, 0] = True
    return given.flatten()


class PinFrames:
    """The host's SAMPLER_SAMPLE wrapper that holds frames as its own inpainting does.

    Before each call of the network a held frame is the image's latent, noised to the step's sigma;
    in the prediction it is the latent itself.
    """

    def __init__(self, frames: str):
        self.frames = frames

    def __call__(
        self,
        executor: Any,
        guider: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        concat, num_frames, mode = _guidance(guider.conds)
        pinned = given_rows(concat, num_frames, self.frames, mode)
        mask = torch.ones_like(noise) if denoise_mask is None else denoise_mask
        # What the latent input's own mask holds, such as an extended video's start, stays.
        pinned &= mask.expand_as(noise).flatten(1).any(dim=1)
        rows = pinned[:, None, None, None].to(noise.device)
        image = torch.zeros_like(noise) if latent_image is None else latent_image
        image = torch.where(rows, concat.to(noise), image)
        mask = torch.where(rows, torch.zeros_like(noise), mask)
        samples = executor(guider, sigmas, extra_args, callback, noise, image, mask, disable_pbar)
        if _is_last_stage(guider.inner_model.model_sampling, sigmas):
            samples = torch.where(rows, image.to(samples), samples)
        return samples


def _guidance(conds: dict[str, Any]) -> tuple[Tensor, int, str]:
    """(concat latents `[N*T, 4, h, w]`, frames per video, mode) of the first condition with them.

    Raises InputError where none has.
    """
    for entries in conds.values():
        for entry in entries or ():
            found = entry.get("model_conds", {})
            if "c_concat" in found:
                mode = entry.get(keys.MODE, "animate")
                return found["c_concat"].cond, found["num_video_frames"].cond, mode
    raise InputError(
        "Pin First Frame found no image in the conditionings; put Visual Detail Guidance between "
        "the prompts and the sampler."
    )


def _is_last_stage(sampling: Any, sigmas: Tensor) -> bool:
    """Whether the sigmas lead to the finished latent, not to a hand-over between stages."""
    if float(sigmas[-1]) == 0:
        return True
    return isinstance(sampling, DynamiCrafterSampling) and is_published_ending(
        sampling.schedule, sigmas
    )


class PinFirstFrame(io.ComfyNode):
    """Holds the first frame, or all given ones, to the image while sampling."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterPinFirstFrame",
            display_name="Pin First Frame",
            category=f"{CATEGORY}/model",
            description="Holds the first frame to the given image while sampling, so that it comes "
            "out as the image itself (but for the VAE). Works with every sampler.",
            inputs=[
                io.Model.Input("model", tooltip="A DynamiCrafter model; it stays as it is."),
                io.Combo.Input(
                    "frames",
                    options=FRAMES,
                    default="first",
                    tooltip="first: only the first frame. given: every frame that has an image in "
                    "the modes interpolate, loop and keyframes.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    @checked
    def execute(cls, model: Any, frames: str) -> io.NodeOutput:
        if require_model(model).arch.in_channels <= 4:
            raise InputError(
                "This model takes no image beside the noise, so there is no frame to pin; load an "
                "image-to-video checkpoint."
            )
        clone = model.clone()
        kind = comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE
        clone.remove_wrappers_with_key(kind, WRAPPER_KEY)
        clone.add_wrapper_with_key(kind, WRAPPER_KEY, PinFrames(frames))
        return io.NodeOutput(clone)


NODES = [PinFirstFrame]
