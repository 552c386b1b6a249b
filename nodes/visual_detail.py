"""Visual detail guidance: the images' latents, laid out along the frames.

Source: docs/method.md#visual-detail-guidance.
"""

import logging
from typing import Any

import comfy.model_management
import node_helpers
import torch
from comfy_api.latest import io
from torch import Tensor

from ..dc_model import vdg
from ..dc_model.frames import fold_frames
from ..dc_model.preprocess import fit_image
from .checks import ENCODING, require_finite, require_room
from .door import checked
from .errors import REMEDIES, InputError, require_count, require_multiple_of_8
from .host import keys
from .inputs import conditioning_outputs, fit_input, size_inputs, video_inputs
from .types import CATEGORY, Keyframe, Keyframes

logger = logging.getLogger(__name__)

MODES = ["animate", "interpolate", "loop", "keyframes", "per_frame"]
SPEED_TOOLTIP = (
    "0 = the model's own. 256: frame stride 1-6, larger = more motion (3). Others: frames per "
    "second, smaller = more motion (512: 24, 1024: 10, interpolate and loop: 5, Toon: 10)."
)


def empty_latent(videos: int, length: int, height: int, width: int) -> dict[str, Any]:
    """LATENT of zeros, `[N*T, 4, h, w]`, that knows its number of frames."""
    device = comfy.model_management.intermediate_device()
    samples = torch.zeros(videos * length, 4, height // 8, width // 8, device=device)
    return {"samples": samples, "num_frames": length}


def encode_fitted(vae: Any, image: Tensor, height: int, width: int, fit: Any) -> Tensor:
    """Unscaled latents `[K, 4, h, w]` of images `[K, H, W, C]`, posterior mode.

    docs/differences.md#the-posteriors-mode
    """
    rgb = image.movedim(-1, 1)  # [K, 3, H, W]
    fitted = fit_image(rgb, height, width, fit).movedim(1, -1)  # [K, height, width, 3]
    latents = vae.encode(fitted)
    if latents.ndim != 4 or latents.shape[1] != 4 or latents.shape[-1] != width // 8:
        raise InputError(
            f"The VAE gives latents {tuple(latents.shape)}, this model needs 4 channels at an "
            f"eighth of the size: use the checkpoint's VAE, or {REMEDIES['VAE']}."
        )
    return require_finite(latents, "The encoded image", ENCODING)


def video_count(batch_size: int, *images: Tensor | None) -> int:
    """N: `batch_size`, or with 1 the largest image batch; every batch must be 1 or N."""
    counts = [image.shape[0] for image in images if image is not None]
    videos = max(counts) if batch_size == 1 else batch_size
    for count in counts:
        require_count(count, (1, videos), "images", "give 1 image or one for each video")
    return videos


def _tell_of_videos(mode: str, batch_size: int, image: Tensor, length: int) -> None:
    """A line in the log where a batch of images, such as an animated GIF, makes many videos."""
    if len(image) > 1 and batch_size == 1 and mode in ("animate", "interpolate", "loop"):
        logger.info(
            "Visual Detail Guidance: %d images make %d videos of %d frames; for one video pick an "
            "image with Get Image from Batch, or set mode to per_frame for an image per frame.",
            len(image),
            len(image),
            length,
        )


def _repeat(latents: Tensor, videos: int) -> Tensor:
    return latents.expand(videos, -1, -1, -1) if latents.shape[0] == 1 else latents


class Encoder:
    """Encodes images for one run: the VAE, the size and the fit stay the same."""

    def __init__(self, vae: Any, height: int, width: int, fit: str):
        self.vae, self.height, self.width, self.fit = vae, height, width, fit

    def __call__(self, image: Tensor) -> Tensor:
        return encode_fitted(self.vae, image, self.height, self.width, self.fit)


def animate(encode: Encoder, image: Tensor, length: int, batch_size: int) -> Tensor:
    videos = video_count(batch_size, image)
    return vdg.animate(_repeat(encode(image), videos), length)


def loop(encode: Encoder, image: Tensor, length: int, batch_size: int) -> Tensor:
    videos = video_count(batch_size, image)
    return vdg.loop(_repeat(encode(image), videos), length)


def interpolate(
    encode: Encoder, image: Tensor, end_image: Tensor | None, length: int, batch_size: int
) -> Tensor:
    if end_image is None:
        raise InputError("mode interpolate needs end_image; connect the last frame's image.")
    videos = video_count(batch_size, image, end_image)
    first, last = _repeat(encode(image), videos), _repeat(encode(end_image), videos)
    return vdg.interpolate(first, last, length)


def place_keyframes(
    encode: Encoder, image: Tensor, given: tuple[Keyframe, ...], length: int, batch_size: int
) -> Tensor:
    require_count(image.shape[0], (1,), "images", "mode keyframes takes one; add Keyframe nodes")
    frames = [k.frame for k in given]
    images = [encode(k.image) for k in given]
    if not any(frame % length == 0 and -length <= frame < length for frame in frames):
        frames, images = [0, *frames], [encode(image), *images]
    return vdg.keyframes(torch.cat(images), frames, length).expand(batch_size, -1, -1, -1, -1)


def per_frame(encode: Encoder, image: Tensor, length: int, batch_size: int) -> Tensor:
    allowed = (length, length * batch_size)
    require_count(image.shape[0], allowed, "images", "give mode per_frame one for each frame")
    latents = vdg.per_frame(encode(image), length)
    return latents.expand(batch_size, -1, -1, -1, -1) if latents.shape[0] == 1 else latents


def _warn_of_unused(mode: str, **images: Any) -> None:
    """A line in the log for each image that is connected to a mode that does not look at it."""
    uses = {"end_image": "interpolate", "keyframes": "keyframes"}
    for name, value in images.items():
        if value is not None and mode != uses[name]:
            logger.warning(
                "Visual Detail Guidance: %s is connected, but mode %s does not use it; set mode "
                "to %s, or disconnect it.",
                name,
                mode,
                uses[name],
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
            description="Encodes the image and concatenates it to every frame's noise, so that the "
            "video keeps its detail. Also sets size, length and speed of the video.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="From Query-Transformer Projection."),
                io.Conditioning.Input("negative", tooltip="From Query-Transformer Projection."),
                io.Vae.Input("vae", tooltip="The checkpoint's, or any Stable Diffusion 1.x VAE."),
                io.Image.Input("image", tooltip="The first frame."),
                *size_inputs(),
                *video_inputs(),
                io.Combo.Input(
                    "mode",
                    options=MODES,
                    default="animate",
                    tooltip="animate: the image on every frame. interpolate: image and end_image "
                    "at the ends (512_interp models). loop: the image at both ends. keyframes: "
                    "images at chosen frames. per_frame: an image for each frame (ViewCrafter).",
                ),
                io.Int.Input("fps", default=0, min=0, max=1000, tooltip=SPEED_TOOLTIP),
                fit_input(
                    "How images are brought to the video's size: crop covers it and cuts, "
                    "pad adds black bars, stretch ignores the aspect ratio."
                ),
                io.Conditioning.Input(
                    "image_only", optional=True, tooltip="For two-scale guidance; else leave it."
                ),
                io.Image.Input("end_image", optional=True, tooltip="The last frame (interpolate)."),
                Keyframes.Input("keyframes", optional=True, tooltip="Images at chosen frames."),
            ],
            outputs=[
                *conditioning_outputs(),
                io.Latent.Output(display_name="latent"),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        positive: Any,
        negative: Any,
        vae: Any,
        image: Tensor,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        mode: str,
        fps: int,
        fit: str,
        image_only: Any = None,
        end_image: Tensor | None = None,
        **optional: Any,
    ) -> io.NodeOutput:
        require_multiple_of_8(width=width, height=height)
        require_room(batch_size, length, height, width)
        _warn_of_unused(mode, end_image=end_image, keyframes=optional.get("keyframes"))
        _tell_of_videos(mode, batch_size, image, length)
        encode = Encoder(vae, height, width, fit)
        if mode == "interpolate":
            video = interpolate(encode, image, end_image, length, batch_size)
        elif mode == "keyframes":
            given = optional.get("keyframes") or ()
            video = place_keyframes(encode, image, given, length, batch_size)
        else:
            assemble = {"animate": animate, "loop": loop, "per_frame": per_frame}[mode]
            video = assemble(encode, image, length, batch_size)
        values = {
            keys.CONCAT_LATENT: fold_frames(video),
            keys.NUM_FRAMES: length,
            keys.SPEED: fps,
            keys.MODE: mode,
        }
        guided = [
            None if c is None else node_helpers.conditioning_set_values(c, values)
            for c in (positive, negative, image_only)
        ]
        return io.NodeOutput(*guided, empty_latent(video.shape[0], length, height, width))


class KeyframeNode(io.ComfyNode):
    """One image for one frame; chain them for more."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterKeyframe",
            display_name="DynamiCrafter Keyframe",
            search_aliases=["keyframes", "guide frame", "middle frame"],
            category=f"{CATEGORY}/conditioning",
            description="Puts an image at a frame of the video, for Visual Detail Guidance in mode "
            "keyframes.",
            inputs=[
                io.Image.Input("image", tooltip="One image."),
                io.Int.Input(
                    "frame",
                    default=0,
                    min=-1024,
                    max=1023,
                    tooltip="The first frame is 0; negative numbers count from the end.",
                ),
                Keyframes.Input("keyframes", optional=True, tooltip="Keyframes before this one."),
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
            description="An empty video for VideoCrafter's text-to-video models.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="What should be seen."),
                io.Conditioning.Input("negative", tooltip="What should not."),
                *size_inputs("Pixels.", "Pixels."),
                *video_inputs(),
                io.Int.Input(
                    "fps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Frames per second: smaller = more motion. 0 = the model's own (16).",
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
        positive: Any,
        negative: Any,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        fps: int,
    ) -> io.NodeOutput:
        require_multiple_of_8(width=width, height=height)
        require_room(batch_size, length, height, width)
        values = {keys.NUM_FRAMES: length, keys.SPEED: fps, keys.MODE: "animate"}
        timed = [node_helpers.conditioning_set_values(c, values) for c in (positive, negative)]
        return io.NodeOutput(*timed, empty_latent(batch_size, length, height, width))


NODES = [VisualDetailGuidance, KeyframeNode, EmptyVideo]
