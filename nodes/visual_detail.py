"""Visual detail guidance: the images' latents, laid out along the frames.

Source: docs/method.md#visual-detail-guidance.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dc_model import vdg
from ..dc_model.frames import fold_frames
from ..dc_model.preprocess import Fit
from .checks import (
    ENCODING,
    REMEDIES,
    InputError,
    require_count,
    require_finite,
    require_multiple_of_8,
    require_room,
)
from .door import checked
from .host import keys
from .host.conditionings import Conditionings
from .host.latents import empty_latent
from .host.pictures import fit_pictures
from .host.protocols import VAE, Conditioning, Latent, Values
from .inputs import (
    CATEGORY,
    Keyframe,
    Keyframes,
    conditioning_outputs,
    fit_input,
    fps_input,
    image_only_input,
    integer,
    size_inputs,
    video_inputs,
)

logger = logging.getLogger(__name__)


class VideoFormat:
    """What to make: size in pixels, frames, videos at once; fps 0 = the model's own speed.

    Raises InputError unless sizes are multiples of 8 and the video fits into the free memory.
    """

    def __init__(self, width: int, height: int, length: int, batch_size: int = 1, fps: int = 0):
        require_multiple_of_8(width=width, height=height)
        require_room(batch_size, length, height, width)
        self.width, self.height, self.length = width, height, length
        self.batch_size, self.fps = batch_size, fps

    def values(self, mode: str) -> Values:
        """What the conditionings say of the video; frames held for another one are let go."""
        return {
            keys.NUM_FRAMES: self.length,
            keys.SPEED: self.fps,
            keys.MODE: mode,
            keys.HELD_LATENTS: None,
        }

    def empty_latent(self, videos: int) -> Latent:
        return empty_latent(videos, self.length, self.height, self.width)


class Images(NamedTuple):
    """The images of a video, `[B, H, W, C]` in [0, 1]; which of them counts depends on the mode."""

    image: Tensor
    end_image: Tensor | None = None
    keyframes: Sequence[Keyframe] = ()


class Encoder:
    """Encodes images for one run: the VAE, the size and the fit stay the same."""

    def __init__(self, vae: VAE, height: int, width: int, fit: Fit = "crop"):
        self.vae, self.height, self.width = vae, height, width
        self.fit: Fit = fit

    def __call__(self, image: Tensor) -> Tensor:
        """Unscaled latents `[K, 4, h, w]` of images `[K, H, W, C]`, posterior mode.

        docs/differences.md#the-posteriors-mode
        """
        rgb = image.movedim(-1, 1)  # [K, 3, H, W]
        fitted = fit_pictures(rgb, self.height, self.width, self.fit)
        latents = self.vae.encode(fitted.movedim(1, -1))  # of [K, height, width, 3]
        if latents.ndim != 4 or latents.shape[1] != 4 or latents.shape[-1] != self.width // 8:
            raise InputError(
                f"The VAE gives latents {tuple(latents.shape)}, this model needs 4 channels at an "
                f"eighth of the size: use the checkpoint's VAE, or {REMEDIES['VAE']}."
            )
        return require_finite(latents, "The encoded image", ENCODING)


def guide(
    conditionings: Conditionings, encode: Encoder, images: Images, video: VideoFormat, mode: str
) -> tuple[Conditionings, Latent]:
    """The conditionings with the images' latents on every frame, and an empty LATENT to sample.

    Raises InputError when the mode lacks an image or gets too many.
    """
    _warn_of_unused(mode, images)
    _log_video_count(mode, images, video)
    laid_out = ASSEMBLE[mode](encode, images, video)  # [N, 4, T, h, w]
    values = {keys.CONCAT_LATENT: fold_frames(laid_out), **video.values(mode)}
    return conditionings.with_values(values), video.empty_latent(laid_out.shape[0])


def video_count(batch_size: int, *images: Tensor) -> int:
    """N: `batch_size`, or with 1 the largest image batch; every batch must be 1 or N."""
    counts = [image.shape[0] for image in images]
    videos = max(counts) if batch_size == 1 else batch_size
    for count in counts:
        require_count(count, (1, videos), "images", "give 1 image or one for each video")
    return videos


def _repeat(latents: Tensor, videos: int) -> Tensor:
    return latents.expand(videos, -1, -1, -1) if latents.shape[0] == 1 else latents


def animate(encode: Encoder, images: Images, video: VideoFormat) -> Tensor:
    videos = video_count(video.batch_size, images.image)
    return vdg.animate(_repeat(encode(images.image), videos), video.length)


def loop(encode: Encoder, images: Images, video: VideoFormat) -> Tensor:
    videos = video_count(video.batch_size, images.image)
    return vdg.loop(_repeat(encode(images.image), videos), video.length)


def interpolate(encode: Encoder, images: Images, video: VideoFormat) -> Tensor:
    if images.end_image is None:
        raise InputError("mode interpolate needs end_image; connect the last frame's image.")
    ends = (images.image, images.end_image)
    videos = video_count(video.batch_size, *ends)
    first, last = (_repeat(encode(end), videos) for end in ends)
    return vdg.interpolate(first, last, video.length)


def place_keyframes(encode: Encoder, images: Images, video: VideoFormat) -> Tensor:
    """The image is the first frame's, unless a keyframe is."""
    image, length = images.image, video.length
    require_count(image.shape[0], (1,), "images", "mode keyframes takes one; add Keyframe nodes")
    frames = [k.frame for k in images.keyframes]
    latents = [encode(k.image) for k in images.keyframes]
    if not any(frame % length == 0 and -length <= frame < length for frame in frames):
        frames, latents = [0, *frames], [encode(image), *latents]
    placed = vdg.keyframes(torch.cat(latents), frames, length)
    return placed.expand(video.batch_size, -1, -1, -1, -1)


def per_frame(encode: Encoder, images: Images, video: VideoFormat) -> Tensor:
    allowed = (video.length, video.length * video.batch_size)
    require_count(
        images.image.shape[0], allowed, "images", "give mode per_frame one for each frame"
    )
    latents = vdg.per_frame(encode(images.image), video.length)
    return latents.expand(video.batch_size, -1, -1, -1, -1) if len(latents) == 1 else latents


ASSEMBLE = {
    "animate": animate,
    "interpolate": interpolate,
    "loop": loop,
    "keyframes": place_keyframes,
    "per_frame": per_frame,
}


def _log_video_count(mode: str, images: Images, video: VideoFormat) -> None:
    """A line in the log where a batch of images, such as an animated GIF, makes many videos."""
    count = len(images.image)
    if count > 1 and video.batch_size == 1 and mode in ("animate", "interpolate", "loop"):
        logger.info(
            "Visual Detail Guidance: %d images make %d videos of %d frames; for one video pick an "
            "image with Get Image from Batch, or set mode to per_frame for an image per frame.",
            count,
            count,
            video.length,
        )


def _warn_of_unused(mode: str, images: Images) -> None:
    """A line in the log for each image that is connected to a mode that does not look at it."""
    given = {
        "end_image": ("interpolate", images.end_image is not None),
        "keyframes": ("keyframes", bool(images.keyframes)),
    }
    for name, (user, connected) in given.items():
        if connected and mode != user:
            logger.warning(
                "Visual Detail Guidance: %s is connected, but mode %s does not use it; set mode "
                "to %s, or disconnect it.",
                name,
                mode,
                user,
            )


class VisualDetailGuidance(io.ComfyNode):
    """Adds the images' latents, frame by frame, to the conditionings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterVisualDetailGuidance",
            display_name="Visual Detail Guidance",
            search_aliases=[
                "image to video",
                "i2v",
                "img2vid",
                "animate",
                "interpolate",
                "in-between",
                "inbetween",
                "first last frame",
                "loop",
                "seamless loop",
                "keyframes",
                "motion",
                "dynamicrafter",
            ],
            category=f"{CATEGORY}/conditioning",
            description="Gives the video the image's detail: encodes the image and joins it to "
            "every frame's noise. Also sets the video's size, length and speed.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="From Query-Transformer Projection."),
                io.Conditioning.Input("negative", tooltip="From Query-Transformer Projection."),
                io.Vae.Input("vae", tooltip="The checkpoint's, or any Stable Diffusion 1.x VAE."),
                io.Image.Input(
                    "image", tooltip="The image to animate; it is the first frame. Any size."
                ),
                *size_inputs(),
                *video_inputs(),
                io.Combo.Input(
                    "mode",
                    options=list(ASSEMBLE),
                    default="animate",
                    tooltip="animate: start from the image. interpolate: from image to end_image. "
                    "loop: end where it began. keyframes: images at chosen frames. per_frame: an "
                    "image for each frame (ViewCrafter). interpolate, loop and keyframes need a "
                    "512_interp or ToonCrafter model.",
                ),
                fps_input(),
                fit_input(),
                image_only_input(),
                io.Image.Input(
                    "end_image", optional=True, tooltip="The last frame, for mode interpolate."
                ),
                Keyframes.Input(
                    "keyframes", optional=True, tooltip="From Keyframe nodes, for mode keyframes."
                ),
            ],
            outputs=[*conditioning_outputs(), io.Latent.Output(display_name="latent")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        positive: Conditioning,
        negative: Conditioning,
        vae: VAE,
        image: Tensor,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        mode: str,
        fps: int,
        fit: Fit,
        image_only: Conditioning | None = None,
        end_image: Tensor | None = None,
        **optional: Any,
    ) -> io.NodeOutput:
        images = Images(image, end_image, optional.get("keyframes") or ())
        video = VideoFormat(width, height, length, batch_size, fps)
        encode = Encoder(vae, height, width, fit)
        conditionings = Conditionings(positive, negative, image_only)
        guided, latent = guide(conditionings, encode, images, video, mode)
        return io.NodeOutput(*guided, latent)


class KeyframeNode(io.ComfyNode):
    """One image for one frame; chain them for more."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterKeyframe",
            display_name="DynamiCrafter Keyframe",
            search_aliases=["keyframes", "guide frame", "middle frame"],
            category=f"{CATEGORY}/conditioning",
            description="Places an image at a chosen frame, for Visual Detail Guidance in mode "
            "keyframes.",
            inputs=[
                io.Image.Input("image", tooltip="The image to place; one image, not a batch."),
                integer(
                    "frame",
                    0,
                    (-1024, 1023),
                    "Where to place it: 0 is the first frame, -1 the last.",
                ),
                Keyframes.Input(
                    "keyframes",
                    optional=True,
                    tooltip="Keyframes placed so far; leave it unconnected on the first.",
                ),
            ],
            outputs=[Keyframes.Output(display_name="keyframes")],
        )

    @classmethod
    @checked
    def execute(cls, image: Tensor, frame: int, **optional: Any) -> io.NodeOutput:
        require_count(image.shape[0], (1,), "images", "give one for each keyframe")
        return io.NodeOutput((*(optional.get("keyframes") or ()), Keyframe(frame, image)))


class EmptyVideo(io.ComfyNode):
    """Size, length and speed for text-to-video models."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterEmptyVideo",
            display_name="DynamiCrafter Empty Video (text to video)",
            search_aliases=[
                "text to video",
                "t2v",
                "txt2vid",
                "empty latent video",
                "videocrafter",
            ],
            category=f"{CATEGORY}/conditioning",
            description="Makes a video from text alone: an empty latent for VideoCrafter's "
            "text-to-video models.",
            inputs=[
                io.Conditioning.Input(
                    "positive", tooltip="The prompt: what the video should show."
                ),
                io.Conditioning.Input("negative", tooltip="What to avoid; empty is fine."),
                *size_inputs("Pixels, a multiple of 8.", "Pixels, a multiple of 8."),
                *video_inputs(),
                fps_input(
                    "Frames per second, lower = more motion. 0 = the model's default, 16. "
                    "VideoCrafter's own script uses 28."
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        positive: Conditioning,
        negative: Conditioning,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        fps: int,
    ) -> io.NodeOutput:
        video = VideoFormat(width, height, length, batch_size, fps)
        timed = Conditionings(positive, negative).with_values(video.values("animate"))
        return io.NodeOutput(timed.positive, timed.negative, video.empty_latent(batch_size))


NODES = [VisualDetailGuidance, KeyframeNode, EmptyVideo]
