"""A checkpoint as a maker of videos, in plain PyTorch and without ComfyUI.

::

    pipeline = load("dynamicrafter_512.ckpt", tokenizer="ComfyUI/comfy/sd1_tokenizer")
    video = pipeline.animate(image, "a boat on the waves")  # [1, 3, 16, 320, 512]

All runs in float32 on one device.
"""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from . import vdg
from .build import (
    build_networks,
    build_toon_vae,
    build_towers,
    build_vae,
    lend_encoders,
    missing_encoders,
)
from .checkpoint.errors import CheckpointError, naming
from .checkpoint.inspect import read_checkpoint
from .encoders.autoencoder import LATENT_SCALE, Autoencoder
from .encoders.clip import Towers
from .encoders.tokenizer import Tokenize, clip_tokenizer
from .frames import fold_frames, unfold_frames
from .identify import identify
from .motion.clocks import Reference
from .preprocess import clip_preprocess
from .projection import Resampler
from .sampling.schedule import Ending, NoiseSchedule
from .sampling.videos import sample_videos
from .shown import shown
from .toon.dual_reference_vae import DualReferenceVAE
from .unet.attention import IMAGE_STRENGTHS
from .unet.unet import DynamiCrafterUNet
from .variants import VARIANTS, Variant, has_dual_reference

log = logging.getLogger(__name__)


class VideoModel(nn.Module):
    """U-Net and query transformer P; `forward` is one prediction."""

    def __init__(self, unet: DynamiCrafterUNet, projector: Resampler | None):
        super().__init__()
        self.unet = unet
        self.projector = projector
        # Factors of the gate lambda, one per spatial transformer; None = all 1.
        self.image_strengths: tuple[float, ...] | None = None

    def forward(
        self,
        noisy: Tensor,
        concat: Tensor | None,
        timesteps: Tensor,
        text: Tensor,
        image_tokens: Tensor | None,
        speed: Tensor,
    ) -> Tensor:
        """noisy, concat: `[B, 4, T, h, w]`; text: `[B, 77, C]`; image_tokens: `[B, 257, D]`.

        A model with concat input gets zeros where there is none.
        """
        if self.unet.arch.takes_image:
            noisy = vdg.join(noisy, concat)  # [B, 8, T, h, w]
        context = None
        if image_tokens is not None and self.projector is not None:
            context = self.projector(image_tokens)
        options = {IMAGE_STRENGTHS: self.image_strengths}
        return self.unet(noisy, timesteps, text, context, speed, transformer_options=options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a video is sampled; None = as published for the variant.

    speed: fps or frame stride, as the variant says. image_cfg: a guidance scale of its own for the
    image, `cfg` is the text's then. ending: "published" stops at timestep 0, with its noise.
    """

    num_frames: int | None = None
    speed: float | None = None
    steps: int = 50
    cfg: float = 7.5
    image_cfg: float | None = None
    guidance_rescale: float | None = None
    eta: float = 1.0
    negative_prompt: str = ""
    ending: Ending = "clean"
    seed: int = 123


@dataclass(frozen=True, slots=True)
class Pipeline:
    """All parts of a checkpoint; images and videos are in [-1, 1], sides multiples of 8.

    `preprocess.fit_image` brings a picture to `variant.size`.
    """

    model: VideoModel
    vae: Autoencoder | DualReferenceVAE
    towers: Towers
    tokenize: Tokenize
    variant: Variant
    schedule: NoiseSchedule
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def animate(self, image: Tensor, prompt: str, settings: Settings | None = None) -> Tensor:
        """Videos `[B, 3, T, H, W]` that start from images `[B, 3, H, W]`.

        Raises ValueError for a text-to-video model.
        """
        if not self._takes_image:
            raise ValueError(
                "This is a text-to-video model, which starts from no image; call `generate`, or "
                "load an image-to-video checkpoint."
            )
        latents = vdg.animate(self.encode(image), self._length(settings))
        return self.decode(self._sample(latents, image, prompt, settings, "animate"))

    def generate(
        self, prompt: str, size: tuple[int, int] | None = None, settings: Settings | None = None
    ) -> Tensor:
        """A video `[1, 3, T, H, W]` from text alone; size: (H, W), None = the variant's own.

        Raises ValueError for a model that starts from an image.
        """
        if self._takes_image:
            raise ValueError(
                "This model starts from an image; call `animate`, or load a text-to-video "
                "checkpoint."
            )
        height, width = size or self.variant.size
        blank = torch.zeros(
            1, 4, self._length(settings), height // 8, width // 8, device=self.device
        )
        return self.decode(self._sample(blank, None, prompt, settings, "animate"))

    def interpolate(
        self, first: Tensor, last: Tensor, prompt: str, settings: Settings | None = None
    ) -> Tensor:
        """Videos `[B, 3, T, H, W]` from `first` to `last`, both `[B, 3, H, W]`."""
        self._require_guidance()
        ends = self.encode(first), self.encode(last)
        latents = vdg.interpolate(*ends, self._length(settings))
        sampled = self._sample(latents, first, prompt, settings, "interpolate")
        return self.decode(sampled, (first, last))

    def loop(self, image: Tensor, prompt: str, settings: Settings | None = None) -> Tensor:
        """Videos `[B, 3, T - 1, H, W]` that return to the image; the frame shown twice is cut."""
        self._require_guidance()
        latents = vdg.loop(self.encode(image), self._length(settings))
        sampled = self._sample(latents, image, prompt, settings, "loop")
        return self.decode(sampled, (image, image))[:, :, :-1]

    def _length(self, settings: Settings | None) -> int:
        return (settings or Settings()).num_frames or self.variant.num_frames

    @property
    def _takes_image(self) -> bool:
        """By visual detail guidance, or as VideoCrafter 1 does by the context alone."""
        return self.model.unet.arch.takes_image or self.model.projector is not None

    def _require_guidance(self) -> None:
        if not self.model.unet.arch.takes_image:
            raise ValueError(
                "This model has no visual detail guidance, which shows it where a video ends; load "
                "a checkpoint of DynamiCrafter or ToonCrafter."
            )

    def _sample(
        self,
        concat: Tensor,
        image: Tensor | None,
        prompt: str,
        settings: Settings | None,
        mode: str,
    ) -> Tensor:
        settings = settings or Settings()
        if settings.speed is None:
            settings = replace(settings, speed=self.variant.default_speed(mode))
        generator = torch.Generator().manual_seed(settings.seed)
        return self.sample(concat, [prompt] * len(concat), image, settings, generator=generator)

    @torch.no_grad()
    def sample(
        self,
        concat: Tensor,
        prompts: list[str],
        image: Tensor | None,
        settings: Settings,
        *,
        generator: torch.Generator,
        noise: Tensor | None = None,
        reference: Reference | None = None,
    ) -> Tensor:
        """Latents `[B, 4, T, h, w]` for visual detail guidance `concat` of that shape.

        prompts: B of them. image: `[B, 3, H, W]`, for the context; None for a text-to-video model,
        whose `concat` gives the shape alone. noise: the start; None draws it from `generator`, on
        the CPU, as fresh noise of each step is. reference: a video to follow.
        """
        if noise is None:
            noise = torch.randn(concat.shape, generator=generator)
        speed = self.variant.speed if settings.speed is None else settings.speed
        rescale = settings.guidance_rescale
        return sample_videos(
            self.model,
            self.schedule,
            noise=noise.to(concat),
            concat=concat if self.model.unet.arch.takes_image else None,
            text=self.encode_text(prompts),
            null_text=self.encode_text([settings.negative_prompt] * len(prompts)),
            image_tokens=self.image_tokens(image),
            null_image_tokens=None if image is None else self.image_tokens(torch.zeros_like(image)),
            speed=torch.full((len(concat),), float(speed), device=concat.device),
            steps=settings.steps,
            cfg=settings.cfg,
            image_cfg=settings.image_cfg,
            guidance_rescale=self.variant.guidance_rescale if rescale is None else rescale,
            spacing=self.variant.spacing,
            eta=settings.eta,
            ending=settings.ending,
            generator=generator,
            reference=reference,
        )

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images `[B, 3, H, W]` to latents `[B, 4, H/8, W/8]`, times 0.18215."""
        return self.vae.scaled_mean(images.to(self.device))

    @torch.no_grad()
    def decode(self, latents: Tensor, ends: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Latents `[B, 4, T, h, w]` to a video `[B, 3, T, 8h, 8w]` on the CPU.

        ends: the images of the first and last frame, `[B, 3, 8h, 8w]`, whose detail ToonCrafter's
        decoder takes over; others do without.
        """
        if isinstance(self.vae, DualReferenceVAE):
            unscaled = latents.float() / LATENT_SCALE
            if ends is None:
                return self.vae.decode(unscaled).clamp(-1, 1).cpu()
            first, last = (image.to(self.device) for image in ends)
            references = self.vae.encode_references(first, last)
            return self.vae.decode_published(unscaled, references).clamp(-1, 1).cpu()
        one_by_one = fold_frames(latents.float()).split(1)
        frames = torch.cat([self.vae.decode(frame).clamp(-1, 1).cpu() for frame in one_by_one])
        return unfold_frames(frames, latents.shape[2])

    @torch.no_grad()
    def encode_text(self, prompts: list[str]) -> Tensor:
        """Text context `[B, 77, C]`."""
        return self.towers.text(self.tokenize(prompts).to(self.device)).float()

    @torch.no_grad()
    def image_tokens(self, images: Tensor | None) -> Tensor | None:
        """CLIP's tokens `[B, 257, D]` of images; zeros, mid-grey, stand for no image."""
        if images is None or self.model.projector is None:
            return None
        return self.towers.visual(clip_preprocess(images.to(self.device))).float()


def load(
    path: str | Path,
    *,
    tokenizer: str | Path | Tokenize,
    variant: str = "auto",
    encoders: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> Pipeline:
    """A checkpoint file of the family, ready to sample.

    tokenizer: a folder with CLIP's `vocab.json` and `merges.txt`, or a function of that kind.
    variant: a name of `VARIANTS`; "auto" reads it from the file. encoders: a full checkpoint that
    lends a pruned one its VAE and its CLIP. Raises CheckpointError, which names the file, when it
    cannot be read or lacks a part.
    """
    tokenize = tokenizer if callable(tokenizer) else clip_tokenizer(tokenizer)
    with naming(path):
        content = read_checkpoint(path)
        # Published files are all named alike, in folders that say which they are.
        file = Path(path).absolute()
        found = identify(content, variant, f"{file.parent.name}/{file.name}")
    for note in found.notes:
        log.warning("%s: %s", shown(file.name), note)
    parts = found.parts
    if encoders:
        lend_encoders(parts, encoders)
    with naming(path):
        missing = missing_encoders(parts, image_tower=bool(parts.projector))
        if missing:
            raise CheckpointError(f"It lacks {missing}; give a full checkpoint as `encoders`.")
        model = VideoModel(*build_networks(parts, heads=found.heads))
        build = build_toon_vae if has_dual_reference(parts.vae) else build_vae
        vae = build(parts)
        towers = build_towers(parts, found.heads)
    for module in (model, vae, towers):
        module.to(device).eval().requires_grad_(False)
    described = VARIANTS[found.variant]
    return Pipeline(model, vae, towers, tokenize, described, found.schedule, torch.device(device))
