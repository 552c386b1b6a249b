"""Reference Motion: the video follows a rough reference, and stays the picture where it must.

Source: docs/motion.md#two-clocks; Time-to-Move (arXiv 2511.08633).
"""

from functools import partial
from typing import Any, NamedTuple

import comfy.model_management
import torch
import torch.nn.functional as F
from comfy_api.latest import io
from torch import Tensor

from ..dc_model.motion.clocks import ALL, Clocks
from ..dc_model.motion.warp import grown
from .checks import InputError, require_count, require_multiple_of_8, require_proportions
from .door import checked
from .host import keys
from .host.followed_reference import Followed
from .host.options import transformer_option, with_transformer_option
from .host.protocols import VAE, Model
from .inputs import CATEGORY, integer, patched_model_input, real
from .visual_detail import Encoder


class Following(NamedTuple):
    """A MODEL that follows a reference, and a MASK of its size, `[1 or T, H, W]`, of what stays."""

    model: Any
    held: Tensor


def follow(
    model: Model,
    vae: VAE,
    reference: Tensor,
    clocks: Clocks,
    mask: Tensor | None = None,
    may_move: Tensor | None = None,
    soft_border: int = 0,
) -> Following:
    """A clone of a MODEL that follows `reference` `[T, H, W, 3]`; one frame stands for all.

    mask: `[1 or T, H, W]`, 1 where the reference shows the motion; None is everywhere. may_move: of
    that shape, 0 where the video stays the reference; its border of `soft_border` pixels of the
    reference is released later the further out. Masks may be of any size. One frame shows no
    motion: it is only what stays. Below full strength nothing stays to the end. Raises InputError
    for sizes and counts that do not fit, and for a second reference.
    """
    if transformer_option(model, keys.REFERENCE) is not None:
        raise InputError(
            "This model follows a reference already; take one Reference Motion out, or lay both "
            "motions into one reference."
        )
    frames, height, width = reference.shape[:3]
    require_multiple_of_8(width=width, height=height)
    remedy = "give 1 mask, or one for each frame of the reference"
    for masks in (mask, may_move):
        if masks is not None and frames > 1:
            require_count(masks.shape[0], (1, frames), "masks", remedy)
        if masks is not None:
            require_proportions(masks.shape[1:], (height, width), "A mask", "the reference")
    if frames == 1:
        clocks = Clocks(ALL, ALL, clocks.strength)
    moved = reference.new_ones(1, height, width) if mask is None else mask
    free = None if may_move is None else softened(resized(may_move, height, width), soft_border)
    if free is not None and not bool(free.any()):
        raise InputError(
            f"With a soft border of {soft_border} pixels, may_move lets nothing move; paint it "
            "white where the video may change, lower soft_border, or disconnect it."
        )
    latents = Encoder(vae, height, width)(reference)
    clone = with_transformer_option(model, keys.REFERENCE, Followed(latents, moved, free, clocks))
    if free is None or clocks.strength < 1:
        return Following(clone, reference.new_zeros(1, height, width))
    return Following(clone, 1 - free)


def resized(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks `[K, H, W]` at another size."""
    if masks.shape[1:] == (height, width):
        return masks
    at_size = partial(F.interpolate, size=(height, width), mode="bilinear", antialias=True)
    return torch.cat([at_size(mask[None])[0] for mask in masks.split(1)])


def softened(masks: Tensor, border: int) -> Tensor:
    """Masks `[K, H, W]` that rise over `border` pixels from their outline to the inside."""
    half = border // 2
    size, made = 2 * half + 1, []
    for mask in masks.split(1):
        comfy.model_management.throw_exception_if_processing_interrupted()
        padded = F.pad(grown(mask, half - border), (half,) * 4, mode="replicate")
        # Rows, then columns: the square of both costs as much as its side.
        rows = F.avg_pool2d(padded, (size, 1), stride=1)
        made.append(F.avg_pool2d(rows, (1, size), stride=1))
    return torch.cat(made)


def _clock_inputs() -> list[io.Input]:
    """weak_timestep, strong_timestep and strength, in this order."""
    return [
        integer(
            "weak_timestep",
            940,
            (1, ALL),
            "Sampling starts here from the noised reference. Lower keeps more of the reference "
            "outside the mask.",
        ),
        integer(
            "strong_timestep",
            860,
            (1, ALL),
            "Inside the mask the reference is held down to here. Lower follows the motion more "
            "exactly; higher leaves more to the model. At most weak_timestep.",
        ),
        real(
            "strength",
            1.0,
            (0.0, 1.0),
            "1 = as set. 0 = the video without this node. Between, all is released earlier.",
            step=0.01,
        ),
    ]


class ReferenceMotion(io.ComfyNode):
    """Holds parts of the video to a rough reference for the first part of sampling."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterReferenceMotion",
            display_name="DynamiCrafter Reference Motion",
            search_aliases=[
                "motion control",
                "motion brush",
                "time to move",
                "hold region",
                "masked motion",
            ],
            category=f"{CATEGORY}/motion",
            description="The video follows a rough reference: what it shows moves that way, and "
            "the model draws the rest. Works with every sampler.",
            inputs=[
                patched_model_input(),
                io.Vae.Input("vae", tooltip="The checkpoint's, or any Stable Diffusion 1.x VAE."),
                io.Image.Input(
                    "reference",
                    tooltip="From Drag Motion or Camera Motion, or any video of the same length "
                    "and size. One image shows no motion; it is what stays outside may_move.",
                ),
                *_clock_inputs(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="What the reference moves, for each frame. Without it: everything.",
                ),
                io.Mask.Input(
                    "may_move",
                    optional=True,
                    tooltip="White may change; black stays the reference on every frame. Grey is "
                    "sampled from a lower noise level.",
                ),
                integer(
                    "soft_border",
                    16,
                    (0, 512),
                    "Pixels over which may_move fades to the inside.",
                    optional=True,
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                io.Mask.Output(display_name="held"),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Model,
        vae: VAE,
        reference: Tensor,
        weak_timestep: int,
        strong_timestep: int,
        strength: float,
        mask: Tensor | None = None,
        may_move: Tensor | None = None,
        soft_border: int = 16,
    ) -> io.NodeOutput:
        clocks = Clocks(weak_timestep, strong_timestep, strength)
        return io.NodeOutput(*follow(model, vae, reference, clocks, mask, may_move, soft_border))


NODES = [ReferenceMotion]
