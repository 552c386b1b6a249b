"""Storyboard: shots, one after the other, as one video.

Source: paper, applications (storytelling, interpolation).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from comfy_api.latest import io
from torch import Tensor

from ..dc_model.sampling.prompt_schedule import is_numbered
from ..dc_model.video.join import join
from .context import ContextEncode, ContextProjection
from .decode import VideoDecode
from .door import checked
from .errors import InputError, require_count
from .extend import Extend
from .host.toon_vae import ToonVAE
from .inputs import eta_input, fit_input, guidance_inputs, seed_input, size_inputs, steps_input
from .prompt_schedule import BLEND_FRAMES, encode_schedule
from .sampling import Sampler
from .types import CATEGORY, Projector, Shot, Shots
from .visual_detail import SPEED_TOOLTIP, VisualDetailGuidance

MODES = ["animate", "interpolate"]


class Take(NamedTuple):
    """A finished shot: frames `[T, H, W, 3]` and their LATENT."""

    images: Tensor
    latent: dict[str, Any]


@dataclass(frozen=True)
class Director:
    """What all shots share; shoots one at a time with the pack's own nodes."""

    model: Any
    clip: Any
    vae: Any
    clip_vision: Any
    projector: Any
    negative: str
    width: int
    height: int
    fit: str
    overlap: int
    sampling: dict[str, Any]

    def animate(self, shots: tuple[Shot, ...], seed: int) -> Tensor:
        """Every shot from its image, or on from the one before: frames `[T, H, W, 3]`."""
        take: Take | None = None
        video: Tensor | None = None
        for i, shot in enumerate(shots):
            take = self._animate(shot, take, seed + i)
            if video is None:
                video = take.images
            else:
                video = join(video, take.images, self.overlap if shot.image is None else 0)
        assert video is not None
        return video

    def interpolate(self, shots: tuple[Shot, ...], seed: int) -> Tensor:
        """From each shot's image to the next one's, which both share: frames `[T, H, W, 3]`."""
        video: Tensor | None = None
        for i, (shot, following) in enumerate(pairwise(shots)):
            conditions = self._conditions(shot, shot.image)
            guided = self._guide(conditions, shot, "interpolate", following.image)
            images = self._shoot(guided, seed + i, (shot.image, following.image)).images
            video = images if video is None else join(video, images, 1)
        assert video is not None
        return video

    def _animate(self, shot: Shot, before: Take | None, seed: int) -> Take:
        if shot.image is not None:
            conditions = self._conditions(shot, shot.image)
            return self._shoot(self._guide(conditions, shot, "animate", None), seed)
        assert before is not None
        positive, negative = self._conditions(shot, before.images[-1:])
        guided = Extend.execute(
            positive,
            negative,
            self.vae,
            before.images,
            shot.length,
            self.overlap,
            shot.fps,
            samples=before.latent,
        ).args
        return self._shoot(guided, seed)

    def _conditions(self, shot: Shot, image: Any) -> tuple[Any, Any]:
        positive, negative = (
            self._encode(text, shot.length) for text in (shot.prompt, self.negative)
        )
        real, null = ContextEncode.execute(self.clip_vision, image, "stretch").args
        return ContextProjection.execute(
            positive, negative, self.projector, real, null, "auto"
        ).args[:2]

    def _encode(self, text: str, length: int) -> Any:
        if is_numbered(text, length):
            return encode_schedule(self.clip, text, length, BLEND_FRAMES)
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def _guide(self, conditions: tuple[Any, Any], shot: Shot, mode: str, end_image: Any) -> Any:
        return VisualDetailGuidance.execute(
            *conditions,
            vae=self.vae,
            image=shot.image,  # type: ignore[arg-type]
            width=self.width,
            height=self.height,
            length=shot.length,
            batch_size=1,
            mode=mode,
            fps=shot.fps,
            fit=self.fit,
            end_image=end_image,
        ).args

    def _shoot(self, guided: Any, seed: int, ends: tuple[Any, Any] = (None, None)) -> Take:
        positive, negative, _, latent, *_ = guided
        latent = Sampler.execute(
            self.model, positive, negative, latent, seed=seed % 2**64, **self.sampling
        ).args[0]
        # Only ToonCrafter's decoder takes detail from the images at both ends.
        first, last = ends if isinstance(self.vae, ToonVAE) else (None, None)
        images = VideoDecode.execute(self.vae, latent, 0, 0, False, first, last).args[0]
        return Take(images, latent)


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
            description="One shot of a Storyboard: what happens, how long, and from which image.",
            inputs=[
                io.String.Input(
                    "prompt",
                    multiline=True,
                    tooltip="What happens in the shot. Two or more lines `frame: prompt` are read "
                    "as in Prompt Schedule.",
                ),
                io.Int.Input(
                    "length",
                    default=16,
                    min=2,
                    max=1024,
                    tooltip="Frames, those shared with the shot before included.",
                ),
                io.Int.Input("fps", default=0, min=0, max=1000, tooltip=SPEED_TOOLTIP),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The shot's first frame. Without one the shot goes on from the last "
                    "frames of the shot before.",
                ),
                Shots.Input("shots", optional=True, tooltip="The shots before this one."),
            ],
            outputs=[Shots.Output(display_name="shots")],
        )

    @classmethod
    @checked
    def execute(
        cls, prompt: str, length: int, fps: int, image: Tensor | None = None, shots: Any = None
    ) -> io.NodeOutput:
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
            description="A list of shots becomes one video: cut where a shot has its own image, "
            "seamless where it goes on from the shot before, or from image to image with "
            "interpolation models. Shot i is sampled with seed + i.",
            inputs=[
                io.Model.Input("model", tooltip="A DynamiCrafter model."),
                io.Clip.Input("clip", tooltip="The checkpoint's, or OpenCLIP ViT-H."),
                io.Vae.Input("vae", tooltip="The checkpoint's, or any Stable Diffusion 1.x VAE."),
                io.ClipVision.Input("clip_vision", tooltip="The checkpoint's, or CLIP-ViT-H."),
                Projector.Input("projector", tooltip="The checkpoint's query transformer."),
                Shots.Input("shots", tooltip="The last Shot of the chain."),
                io.Combo.Input(
                    "mode",
                    options=MODES,
                    default="animate",
                    tooltip="animate: each shot starts from its image, or goes on from the shot "
                    "before. interpolate: each shot leads to the next one's image (512_interp "
                    "models); the last shot is only the image to end on.",
                ),
                io.String.Input(
                    "negative", default="", tooltip="For all shots; as published: empty."
                ),
                *size_inputs(),
                fit_input("How images are brought to the video's size."),
                io.Int.Input(
                    "overlap",
                    default=4,
                    min=1,
                    max=1023,
                    tooltip="Frames that a shot without an image shares with the one before.",
                ),
                seed_input("Of the first shot; the next ones count on."),
                steps_input("Published: 50."),
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
        model: Any,
        clip: Any,
        vae: Any,
        clip_vision: Any,
        projector: Any,
        shots: tuple[Shot, ...],
        mode: str,
        negative: str,
        width: int,
        height: int,
        fit: str,
        overlap: int,
        seed: int,
        steps: int,
        cfg: float,
        eta: float,
    ) -> io.NodeOutput:
        check_shots(shots, mode, overlap)
        sampling = {
            "steps": steps,
            "cfg": cfg,
            "image_cfg": cfg,
            "eta": eta,
            "spacing": "auto",
            "guidance_rescale": -1.0,
            "ending": "clean",
            "start_timestep": 1000,
            "denoise": 1.0,
        }
        parts = (model, clip, vae, clip_vision, projector)
        director = Director(*parts, negative, width, height, fit, overlap, sampling)
        shoot = director.interpolate if mode == "interpolate" else director.animate
        images = shoot(shots, seed)
        return io.NodeOutput(images, images[-1:])


NODES = [ShotNode, Storyboard]
