"""Video Decode: latents to frames, in pieces that fit."""

import logging
from typing import NamedTuple

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from .checks import DECODING, InputError, require_finite, require_latent
from .door import checked
from .host.latents import frames_per_video
from .host.protocols import VAE, Latent
from .host.toon_vae import ToonVAE, require_dual_reference
from .inputs import CATEGORY, integer

logger = logging.getLogger(__name__)

TILES_CHANGE = (
    "Video Decode: tiles of %d pixels change the picture, see the node's help for how much; "
    "tile_size 0 does not."
)
CHUNKS_CHANGE = (
    "Video Decode: this VAE works along time and is not ToonCrafter's: chunks of %d frames "
    "change the picture; chunk_frames 0 does not."
)


class Pieces(NamedTuple):
    """How to cut the work.

    chunk_frames: frames at once, 0 = by free memory. tile_size: pixels, 0 = whole frames.
    """

    chunk_frames: int = 0
    tile_size: int = 0


AUTOMATIC = Pieces()


def decode_video(
    vae: VAE,
    samples: Latent,
    references: tuple[Tensor | None, Tensor | None] = (None, None),
    pieces: Pieces = AUTOMATIC,
    num_frames: int = 0,
    drop_last_frame: bool = False,
) -> Tensor:
    """Frames `[N, T, H, W, 3]` in [0, 1] of a LATENT.

    references: the first and the last frame's image, for ToonCrafter's VAE; both or none.
    num_frames: T, or 0 = as the latent says. Raises InputError for numbers and images that do not
    fit, and for a video that is not finite.
    """
    latents = require_latent(samples)
    frames = video_frames(samples, num_frames, drop_last_frame)
    if drop_last_frame and frames < 2:
        raise InputError(
            "drop_last_frame needs at least 2 frames, this video has 1; switch it off."
        )
    videos = latents.unflatten(0, (-1, frames))  # [N, T, 4, h, w]
    if any(image is not None for image in references):
        images = decode_with_references(vae, videos, *references, pieces)
    else:
        images = decode(vae, videos, pieces)
    if drop_last_frame:
        images = images[:, :-1]
    require_finite(images.flatten(0, 1), "The decoded video", DECODING)
    return images


def decode(vae: VAE, latents: Tensor, pieces: Pieces) -> Tensor:
    """Frames `[N, T, H, W, 3]` of latents `[N, T, 4, h, w]`.

    A tile that covers the picture cuts nothing. Cuts that change the picture are logged.
    """
    chunk_frames = pieces.chunk_frames
    tile = max(8, pieces.tile_size // 8) if pieces.tile_size else 0
    if tile >= max(latents.shape[-2:]):
        tile = 0
    if tile:
        logger.warning(TILES_CHANGE, tile * 8)
    if isinstance(vae, ToonVAE) and not tile:
        return vae.decode_video(latents, chunk_frames=chunk_frames)
    clips, size = latents.flatten(0, 1)[None], chunk_frames  # frames that know nothing of others
    if _works_along_time(vae):
        clips = latents
        if isinstance(vae, ToonVAE):
            size = 0  # it cuts by itself
        elif 0 < chunk_frames < latents.shape[1]:
            logger.warning(CHUNKS_CHANGE, chunk_frames)
    frames = [_decode_clip(vae, clip, size, tile) for clip in clips]
    return torch.cat(frames).unflatten(0, latents.shape[:2])


def _decode_clip(vae: VAE, rows: Tensor, chunk_frames: int, tile: int) -> Tensor:
    """Frames `[T, H, W, 3]` of latents `[T, 4, h, w]`; tile: in latents, 0 = whole frames."""
    frames = []
    for chunk in rows.split(chunk_frames or len(rows)):
        comfy.model_management.throw_exception_if_processing_interrupted()
        if tile:
            frames.append(vae.decode_tiled(chunk, tile_x=tile, tile_y=tile, overlap=tile // 4))
        else:
            frames.append(vae.decode(chunk))
    return torch.cat(frames)


def _works_along_time(vae: VAE) -> bool:
    """Whether a frame depends on the frames beside it, as with ToonCrafter's and SVD's decoder."""
    network = getattr(vae, "first_stage_model", None)
    return network is not None and any(isinstance(m, torch.nn.Conv3d) for m in network.modules())


def decode_with_references(
    vae: VAE, latents: Tensor, first: Tensor | None, last: Tensor | None, pieces: Pieces
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
    if pieces.tile_size:
        raise InputError(
            f"tile_size is {pieces.tile_size}, but reference images need whole frames; set "
            "tile_size to 0 and chunk_frames to 1 when memory is short."
        )
    return toon.decode_video(latents, first, last, pieces.chunk_frames)


def video_frames(samples: Latent, num_frames: int, matters: bool) -> int:
    """Frames of one video of a LATENT: `num_frames`, or with 0 what the latent says.

    matters: whether to ask for a number where the latent says none; else it is one video. Raises
    InputError also for a number that does not divide the frames.
    """
    rows = samples["samples"].shape[0]
    if num_frames == 0:
        if matters and "num_frames" not in samples:
            raise InputError(
                f"The latent has {rows} frames and does not say how many make a video, as after "
                "Load Latent, but drop_last_frame needs it; set num_frames."
            )
        return frames_per_video(samples)
    if rows % num_frames:
        raise InputError(
            f"num_frames is {num_frames}, but {rows} frames are not a whole number of such videos; "
            "set it to the frames of one, or to 0."
        )
    return num_frames


class VideoDecode(io.ComfyNode):
    """Decodes every frame; stock VAE Decode works too."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterVideoDecode",
            display_name="DynamiCrafter Video Decode",
            search_aliases=["vae decode", "decode"],
            category=f"{CATEGORY}/latent",
            description="Turns latents into frames, as many at once as fit into memory.",
            inputs=[
                io.Vae.Input("vae", tooltip="The checkpoint's, or any Stable Diffusion 1.x VAE."),
                io.Latent.Input("samples", tooltip="The video to decode, from the sampler."),
                integer(
                    "chunk_frames",
                    0,
                    (0, 1024),
                    "Frames decoded at once. 0 = as many as fit into memory. Set 1 if "
                    "memory runs out.",
                ),
                integer(
                    "tile_size",
                    0,
                    (0, 4096),
                    "Decodes in tiles of this many pixels, which takes less memory and "
                    "changes the picture slightly. 0 = whole frames; try 512, then 256.",
                    step=64,
                ),
                io.Boolean.Input(
                    "drop_last_frame",
                    default=False,
                    tooltip="Turn it on for loops, whose last frame repeats the first.",
                ),
                io.Image.Input(
                    "first_image",
                    optional=True,
                    tooltip="Only for ToonCrafter's VAE: the first frame's image, to restore its "
                    "detail.",
                ),
                io.Image.Input(
                    "last_image",
                    optional=True,
                    tooltip="Only for ToonCrafter's VAE: the last frame's image, to restore its "
                    "detail.",
                ),
                integer(
                    "num_frames",
                    0,
                    (0, 1024),
                    "Frames of one video. 0 = as the latent says. Set it for latents from "
                    "Load Latent, which lose the number.",
                    optional=True,
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
        vae: VAE,
        samples: Latent,
        chunk_frames: int,
        tile_size: int,
        drop_last_frame: bool,
        first_image: Tensor | None = None,
        last_image: Tensor | None = None,
        num_frames: int = 0,
    ) -> io.NodeOutput:
        references, pieces = (first_image, last_image), Pieces(chunk_frames, tile_size)
        video = decode_video(vae, samples, references, pieces, num_frames, drop_last_frame)
        return io.NodeOutput(video.flatten(0, 1), video[:, -1])


NODES = [VideoDecode]
