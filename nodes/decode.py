"""Video Decode: latents to frames, in pieces that fit."""

from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from .checks import DECODING, require_finite, require_latent
from .door import checked
from .errors import InputError
from .host.toon_vae import require_dual_reference
from .types import CATEGORY, frames_per_video


def decode(vae: Any, samples: Tensor, chunk_frames: int, tile_size: int) -> Tensor:
    """Frames `[N*T, H, W, 3]` of latents `[N*T, 4, h, w]`.

    chunk_frames: frames at once, 0 = as many as fit into free memory (the host's own choice, tiles
    when even one does not). tile_size: pixels, 0 = whole frames.
    """
    rows = samples.shape[0]
    size = chunk_frames or rows
    frames = []
    for start in range(0, rows, size):
        comfy.model_management.throw_exception_if_processing_interrupted()
        chunk = samples[start : start + size]
        if tile_size:
            tile = max(8, tile_size // 8)
            frames.append(vae.decode_tiled(chunk, tile_x=tile, tile_y=tile, overlap=tile // 4))
        else:
            frames.append(vae.decode(chunk))
    return frames[0] if len(frames) == 1 else torch.cat(frames)


def decode_with_references(
    vae: Any,
    latents: Tensor,
    first: Tensor | None,
    last: Tensor | None,
    chunk_frames: int,
    tile_size: int,
) -> Tensor:
    """Frames `[N, T, H, W, 3]` of latents `[N, T, 4, h, w]`, with detail from two images.

    Raises InputError unless the VAE is ToonCrafter's and both images are given, without tiles.
    """
    toon = require_dual_reference(vae)
    if first is None or last is None:
        found, missing = ("last", "first") if first is None else ("first", "last")
        raise InputError(
            f"Video Decode got {found}_image without {missing}_image; connect both (the same image "
            "twice for a loop), or neither."
        )
    if tile_size:
        raise InputError(
            f"tile_size is {tile_size}, but reference images need whole frames; set tile_size to 0 "
            "and chunk_frames to 1 when memory is short."
        )
    return toon.decode_video(latents, first, last, chunk_frames)


class VideoDecode(io.ComfyNode):
    """Decodes every frame; stock VAE Decode works too."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterVideoDecode",
            display_name="Video Decode",
            category=f"{CATEGORY}/latent",
            description="Decodes all frames of all videos, by default as many at once as fit.",
            inputs=[
                io.Vae.Input("vae", tooltip="The checkpoint's, or any Stable Diffusion 1.x VAE."),
                io.Latent.Input("samples", tooltip="From the sampler."),
                io.Int.Input(
                    "chunk_frames",
                    default=0,
                    min=0,
                    max=1024,
                    tooltip="Frames decoded at once; 0 = by free memory.",
                ),
                io.Int.Input(
                    "tile_size",
                    default=0,
                    min=0,
                    max=4096,
                    step=64,
                    tooltip="0 = whole frames. Set 256 or 512 when memory is short.",
                ),
                io.Boolean.Input(
                    "drop_last_frame",
                    default=False,
                    tooltip="For loops: the last frame repeats the first.",
                ),
                io.Image.Input(
                    "first_image",
                    optional=True,
                    tooltip="For ToonCrafter's VAE only: the image of the first frame, for detail.",
                ),
                io.Image.Input(
                    "last_image",
                    optional=True,
                    tooltip="For ToonCrafter's VAE only: the image of the last frame, for detail.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Image.Output(display_name="last_frame"),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        vae: Any,
        samples: dict[str, Any],
        chunk_frames: int,
        tile_size: int,
        drop_last_frame: bool,
        first_image: Tensor | None = None,
        last_image: Tensor | None = None,
    ) -> io.NodeOutput:
        latent = require_latent(samples)
        frames = frames_per_video(samples)
        if drop_last_frame and frames < 2:
            raise InputError("drop_last_frame needs at least 2 frames; this video has 1.")
        if first_image is None and last_image is None:
            images = decode(vae, latent, chunk_frames, tile_size).unflatten(0, (-1, frames))
        else:
            video = latent.unflatten(0, (-1, frames))  # [N, T, 4, h, w]
            images = decode_with_references(
                vae, video, first_image, last_image, chunk_frames, tile_size
            )
        if drop_last_frame:
            images = images[:, :-1]
        flat = require_finite(images.flatten(0, 1), "The decoded video", DECODING)
        return io.NodeOutput(flat, images[:, -1])


NODES = [VideoDecode]
