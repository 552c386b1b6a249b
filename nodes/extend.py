"""Extend Video: a new piece that continues a video from its last frames."""

from comfy_api.latest import io
from torch import Tensor

from ..dc_model import vdg
from ..dc_model.frames import fold_frames
from .checks import InputError, require_count, require_latent, require_multiple_of_8
from .door import checked
from .host import keys
from .host.conditionings import Conditionings
from .host.latents import continued_latent, frames_per_video
from .host.protocols import VAE, Conditioning, Latent
from .inputs import CATEGORY, conditioning_outputs, fps_input, image_only_input, integer
from .visual_detail import Encoder


def extend(
    conditionings: Conditionings,
    vae: VAE,
    images: Tensor,
    samples: Latent | None,
    length: int,
    overlap: int,
    fps: int = 0,
) -> tuple[Conditionings, Latent]:
    """What makes `length` more frames, of which the first `overlap` are the last of `images`.

    images: the video so far `[T, H, W, 3]`; samples: its LATENT, or None. Returns the conditionings
    and the LATENT to sample. Raises InputError when lengths, sizes or latents do not fit.
    """
    require_multiple_of_8(width=images.shape[2], height=images.shape[1])
    limit = min(images.shape[0], length - 1)
    if overlap > limit:
        raise InputError(
            f"overlap is {overlap}; with {images.shape[0]} frames to extend and a length of "
            f"{length} choose 1 to {limit}."
        )
    known = last_latents(vae, images, samples, overlap)
    values = {
        keys.CONCAT_LATENT: fold_frames(vdg.animate(known[-1:], length)),
        keys.NUM_FRAMES: length,
        keys.SPEED: fps,
        keys.MODE: "animate",
        keys.HELD_LATENTS: known,
    }
    return conditionings.with_values(values), continued_latent(known, length)


def last_latents(vae: VAE, images: Tensor, samples: Latent | None, overlap: int) -> Tensor:
    """Unscaled latents `[overlap, 4, h, w]` of a video's last frames.

    samples: LATENT that `images` was decoded from, which spares them a second trip through the
    VAE; None encodes the images.
    """
    if samples is None:
        height, width = images.shape[1:3]
        return Encoder(vae, height, width)(images[-overlap:])
    latents = require_latent(samples)
    rows = latents.shape[0]
    same = "connect the latent that the images were decoded from, or leave samples empty"
    require_count(rows, (images.shape[0],), "latent frames", same)
    height, width = (side * 8 for side in latents.shape[-2:])
    if (height, width) != tuple(images.shape[1:3]):
        raise InputError(
            f"samples are of {width} x {height} pixels, but images have {images.shape[2]} x "
            f"{images.shape[1]}; {same}."
        )
    frames = frames_per_video(samples)
    if frames < rows:
        raise InputError(
            f"samples are {rows // frames} videos of {frames} frames, but one is extended at "
            "a time; pick its frames with Get Latent From Batch and Get Image from Batch."
        )
    return latents[-overlap:]


class Extend(io.ComfyNode):
    """Conditions the next piece of a video on the last frames of the one before."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterExtend",
            display_name="DynamiCrafter Extend Video",
            search_aliases=["long video", "longer video", "continue video"],
            category=f"{CATEGORY}/conditioning",
            description="Continues a video: the new one starts with its last frames. Replaces "
            "Visual Detail Guidance. Join `before` and the new frames with Batch Images; no frame "
            "appears twice.",
            inputs=[
                io.Conditioning.Input(
                    "positive",
                    tooltip="From Query-Transformer Projection, made with the video's last frame.",
                ),
                io.Conditioning.Input("negative", tooltip="From Query-Transformer Projection."),
                io.Vae.Input("vae", tooltip="The checkpoint's, or any Stable Diffusion 1.x VAE."),
                io.Image.Input(
                    "images", tooltip="The video so far. The new frames get the same size."
                ),
                integer(
                    "length", 16, (2, 1024), "Frames of the new video, including the shared ones."
                ),
                integer(
                    "overlap",
                    4,
                    (1, 1023),
                    "How many last frames the new video starts with. More continue the "
                    "motion more smoothly, but leave fewer new frames.",
                ),
                fps_input(),
                image_only_input(),
                io.Latent.Input(
                    "samples",
                    optional=True,
                    tooltip="The latent that images was decoded from. Keeps the shared frames "
                    "exactly; without it they are encoded again.",
                ),
            ],
            outputs=[
                *conditioning_outputs(),
                io.Latent.Output(display_name="latent"),
                io.Image.Output(display_name="before"),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        positive: Conditioning,
        negative: Conditioning,
        vae: VAE,
        images: Tensor,
        length: int,
        overlap: int,
        fps: int,
        image_only: Conditioning | None = None,
        samples: Latent | None = None,
    ) -> io.NodeOutput:
        conditionings = Conditionings(positive, negative, image_only)
        guided, latent = extend(conditionings, vae, images, samples, length, overlap, fps)
        return io.NodeOutput(*guided, latent, images[:-overlap])


NODES = [Extend]
