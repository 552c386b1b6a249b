"""Storyboard: shots, one after the other, as one video.

Source: paper, applications (storytelling, interpolation).
"""

from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple

from comfy_api.latest import io
from torch import Tensor

from ..dc_model.preprocess import Fit
from ..dc_model.prompts.foreign import refuse_other_notations
from ..dc_model.prompts.schedule import is_numbered
from ..dc_model.video.join import join
from .checks import InputError, require_count
from .context import add_context, encode_context
from .decode import decode_video
from .door import checked
from .extend import extend
from .host.conditionings import Conditionings
from .host.guider import Guidance
from .host.protocols import VAE, Clip, ClipVision, Conditioning, Latent, Model, Patcher
from .host.toon_vae import ToonVAE
from .inputs import (
    CATEGORY,
    Projector,
    Shot,
    Shots,
    eta_input,
    fit_input,
    fps_input,
    guidance_inputs,
    integer,
    seed_input,
    size_inputs,
    steps_input,
)
from .prompt_schedule import encode_schedule
from .sampling import SamplerSettings, VideoNoise, sample
from .visual_detail import Encoder, Images, VideoFormat, guide

MODES = ["animate", "interpolate"]


class Take(NamedTuple):
    """A finished shot: frames `[T, H, W, 3]` and their LATENT."""

    images: Tensor
    latent: Latent


class Models(NamedTuple):
    """The host objects of a checkpoint."""

    model: Model
    clip: Clip
    vae: VAE
    clip_vision: ClipVision
    projector: Patcher


class Director(NamedTuple):
    """What all shots share; shoots one at a time."""

    models: Models
    negative: str
    width: int
    height: int
    fit: Fit
    overlap: int
    settings: SamplerSettings
    guidance: Guidance

    def animate(self, shots: tuple[Shot, ...], seed: int) -> Tensor:
        """Every shot from its image, or from the end of the one before: frames `[T, H, W, 3]`."""
        first, *rest = shots
        take = self._from_image(first, first.image, seed)
        video = take.images
        for i, shot in enumerate(rest, start=1):
            if shot.image is None:
                take, shared = self._continue(shot, take, seed + i), self.overlap
            else:
                take, shared = self._from_image(shot, shot.image, seed + i), 0
            video = join(video, take.images, shared)
        return video

    def interpolate(self, shots: tuple[Shot, ...], seed: int) -> Tensor:
        """From each shot's image to the next one's, which both share: frames `[T, H, W, 3]`."""
        pieces = (
            self._from_image(shot, shot.image, seed + i, following.image).images
            for i, (shot, following) in enumerate(pairwise(shots))
        )
        return reduce(lambda video, piece: join(video, piece, 1), pieces)

    def _from_image(
        self, shot: Shot, image: Any, seed: int, end_image: Tensor | None = None
    ) -> Take:
        video = VideoFormat(self.width, self.height, shot.length, fps=shot.fps)
        encode = Encoder(self.models.vae, self.height, self.width, self.fit)
        mode = "animate" if end_image is None else "interpolate"
        conditionings = self._conditionings(shot, image)
        guided, latent = guide(conditionings, encode, Images(image, end_image), video, mode)
        return self._shoot(guided, latent, seed, (None if end_image is None else image, end_image))

    def _continue(self, shot: Shot, before: Take, seed: int) -> Take:
        guided, latent = extend(
            self._conditionings(shot, before.images[-1:]),
            self.models.vae,
            before.images,
            before.latent,
            shot.length,
            self.overlap,
            shot.fps,
        )
        return self._shoot(guided, latent, seed)

    def _conditionings(self, shot: Shot, image: Tensor) -> Conditionings:
        positive, negative = (
            self._encode(text, shot.length) for text in (shot.prompt, self.negative)
        )
        tokens = encode_context(self.models.clip_vision, image)
        added = add_context(positive, negative, self.models.projector, *tokens)
        return added._replace(image_only=None)  # one scale of guidance

    def _encode(self, text: str, length: int) -> Conditioning:
        clip = self.models.clip
        if is_numbered(text, length):
            return encode_schedule(clip, text, length)
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))

    def _shoot(
        self,
        conditionings: Conditionings,
        latent: Latent,
        seed: int,
        ends: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> Take:
        noise = VideoNoise(seed % 2**64)
        sampled = sample(
            self.models.model, conditionings, latent, noise, self.settings, self.guidance
        )
        # Only ToonCrafter's decoder takes detail from the images at both ends.
        references = ends if isinstance(self.models.vae, ToonVAE) else (None, None)
        return Take(decode_video(self.models.vae, sampled, references).flatten(0, 1), sampled)


def check_shots(shots: tuple[Shot, ...], mode: str, overlap: int) -> None:
    """InputError unless every shot has what its mode needs."""
    if not shots:
        raise InputError("The storyboard has no shots; connect one or more Shot nodes.")
    if mode == "interpolate":
        if len(shots) < 2:
            raise InputError(
                "The storyboard has 1 shot, but mode interpolate needs 2 or more: each leads to "
                "the image of the next; add a Shot with the image to end on."
            )
        missing = [i + 1 for i, shot in enumerate(shots) if shot.image is None]
        if missing:
            raise InputError(
                f"Shot {missing[0]} has no image, but mode interpolate needs one in every shot; "
                "connect it."
            )
        return
    if shots[0].image is None:
        raise InputError("The first shot has no image; connect the one that the video starts with.")
    for i, (before, shot) in enumerate(pairwise(shots)):
        limit = min(before.length, shot.length - 1)
        if shot.image is None and overlap > limit:
            raise InputError(
                f"Shot {i + 2} has no image, so it shares {overlap} frames with the one before, "
                f"but their lengths allow {limit}; lower overlap or lengthen the shots."
            )


class ShotNode(io.ComfyNode):
    """One shot; chain them for more."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterShot",
            display_name="DynamiCrafter Shot",
            search_aliases=["story", "storytelling", "scene"],
            category=f"{CATEGORY}/story",
            description="One shot for Storyboard: what happens, how long it lasts, and which "
            "image it starts from.",
            inputs=[
                io.String.Input(
                    "prompt",
                    multiline=True,
                    tooltip="What happens in the shot. Several lines such as `8: the boat turns` "
                    "change the prompt at that frame, as in Prompt Schedule.",
                ),
                integer(
                    "length",
                    16,
                    (2, 1024),
                    "Frames of the shot, including those shared with the shot before. The "
                    "models were trained on 16.",
                ),
                fps_input(),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The shot's first frame. Without it, the shot continues from the last "
                    "frames of the shot before.",
                ),
                Shots.Input(
                    "shots",
                    optional=True,
                    tooltip="The shots before this one; leave it unconnected on the first.",
                ),
            ],
            outputs=[Shots.Output(display_name="shots")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        prompt: str,
        length: int,
        fps: int,
        image: Tensor | None = None,
        shots: tuple[Shot, ...] | None = None,
    ) -> io.NodeOutput:
        refuse_other_notations(prompt)
        if image is not None:
            require_count(image.shape[0], (1,), "images", "give a shot the one that it starts from")
        return io.NodeOutput((*(shots or ()), Shot(prompt, length, fps, image)))


class Storyboard(io.ComfyNode):
    """Samples shot after shot and joins them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterStoryboard",
            display_name="DynamiCrafter Storyboard",
            search_aliases=["story", "storytelling", "long video", "shots"],
            category=f"{CATEGORY}/story",
            description="Makes one video from several shots: a cut where a shot has its own "
            "image, seamless where it continues the one before. Interpolation models lead from "
            "image to image. Shot i uses seed + i.",
            inputs=[
                io.Model.Input("model", tooltip="A DynamiCrafter model."),
                io.Clip.Input(
                    "clip", tooltip="The checkpoint's, or OpenCLIP ViT-H from Load CLIP."
                ),
                io.Vae.Input("vae", tooltip="The checkpoint's, or any Stable Diffusion 1.x VAE."),
                io.ClipVision.Input(
                    "clip_vision", tooltip="The checkpoint's, or CLIP-ViT-H from Load CLIP Vision."
                ),
                Projector.Input("projector", tooltip="The checkpoint's query transformer."),
                Shots.Input("shots", tooltip="The last Shot of the chain."),
                io.Combo.Input(
                    "mode",
                    options=MODES,
                    default="animate",
                    tooltip="animate: each shot starts from its image, or continues the shot "
                    "before. interpolate: each shot leads to the next one's image (512_interp "
                    "models); the last shot only gives the final image.",
                ),
                io.String.Input(
                    "negative", default="", tooltip="What to avoid, in all shots. Published: empty."
                ),
                *size_inputs(),
                fit_input(),
                integer(
                    "overlap",
                    4,
                    (1, 1023),
                    "Frames that a shot without an image shares with the one before. More "
                    "= smoother motion, fewer new frames.",
                ),
                seed_input("Seed of the first shot; each later shot adds 1."),
                steps_input(),
                guidance_inputs()[0],
                eta_input(),
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
        model: Model,
        clip: Clip,
        vae: VAE,
        clip_vision: ClipVision,
        projector: Patcher,
        shots: tuple[Shot, ...],
        mode: str,
        negative: str,
        width: int,
        height: int,
        fit: Fit,
        overlap: int,
        seed: int,
        steps: int,
        cfg: float,
        eta: float,
    ) -> io.NodeOutput:
        check_shots(shots, mode, overlap)
        director = Director(
            Models(model, clip, vae, clip_vision, projector),
            negative,
            width,
            height,
            fit,
            overlap,
            SamplerSettings(steps, eta),
            Guidance(cfg, cfg),
        )
        shoot = director.interpolate if mode == "interpolate" else director.animate
        images = shoot(shots, seed)
        return io.NodeOutput(images, images[-1:])


NODES = [ShotNode, Storyboard]
