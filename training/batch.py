"""From clips to what one training step needs; every draw comes from the sample's own number."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from dc_model.sampling.schedule import NoiseSchedule, schedule_of
from dc_model.variants import VARIANTS, Variant

from .conditioning import (
    choose_mode,
    cil_noise_scale,
    concat_latents,
    condition_frame,
    dropped,
    palindrome,
)
from .config import ConditioningConfig, TrainConfig
from .data.clip import Clip
from .data.order import sample_generator, sample_seed
from .encoders import Encoders
from .objective import TimestepSampling, add_noise, draw_timestep
from .stages import Stage


@dataclass(slots=True)
class Batch:
    """Tensors of a micro-batch. concat and image_tokens are None where the stage has none.

    dropout_seeds: of each sample.
    """

    noisy: Tensor
    target: Tensor
    timesteps: Tensor
    text: Tensor
    speed: Tensor
    concat: Tensor | None = None
    image_tokens: Tensor | None = None
    dropout_seeds: tuple[int, ...] = ()

    def to(self, device: torch.device | str) -> "Batch":
        moved: dict[str, Any] = {
            f.name: v.to(device) if isinstance(v, Tensor) else v
            for f in fields(self)
            for v in (getattr(self, f.name),)
        }
        return Batch(**moved)


@dataclass(frozen=True)
class BatchMaker:
    """Draws conditions, timesteps and noise for clips and encodes them."""

    encoders: Encoders
    schedule: NoiseSchedule
    variant: Variant
    stage: Stage
    conditioning: ConditioningConfig
    timesteps: TimestepSampling
    seed: int

    @classmethod
    def configured(cls, config: TrainConfig, encoders: Encoders, stage: Stage) -> "BatchMaker":
        """As `config` says; its variant is a name by then, not "auto"."""
        variant = VARIANTS[config.model.variant]
        return cls(
            encoders=encoders,
            schedule=schedule_of(variant),
            variant=variant,
            stage=stage,
            conditioning=config.conditioning,
            timesteps=config.optimizer.timesteps,
            seed=config.run.seed,
        )

    def __call__(self, clips: list[Clip], samples: list[int]) -> Batch:
        """One sample per clip; `samples` are their numbers over the whole run."""
        rows: list[Any] = [self._row(c, n) for c, n in zip(clips, samples, strict=True)]
        clean, noise, concat = (_stack([row[i] for row in rows]) for i in range(3))
        assert clean is not None and noise is not None
        timesteps = torch.tensor([row[5] for row in rows], device=clean.device)
        noisy, target = add_noise(self.schedule, clean, noise, timesteps)
        by_stride = self.variant.speed_unit == "frame_stride"
        speed = [c.frame_stride if by_stride else c.fps for c in clips]
        return Batch(
            noisy=noisy,
            target=target,
            timesteps=timesteps,
            text=self.encoders.text([row[4] for row in rows]),
            speed=torch.tensor(speed, dtype=torch.float32, device=clean.device),
            concat=concat,
            image_tokens=_stack([row[3] for row in rows]),
            dropout_seeds=tuple(sample_seed(self.seed, n, purpose=2) for n in samples),
        )

    def undisturbed(self) -> "BatchMaker":
        """The same, with nothing dropped, no noise on the condition and whole captions."""
        changes = {"drop_probability": 0.0, "cil_noise": False, "motion_captions": 0.0}
        return replace(self, conditioning=self.conditioning.model_copy(update=changes))

    def picture_latents(self, clip: Clip, latents: Tensor, generator: torch.Generator) -> Tensor:
        """What the concat latents are cut from, `[C, T, h, w]`: the clip's own latents."""
        del clip, generator
        return latents

    def _row(
        self, clip: Clip, sample: int
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, str, int]:
        """(clean latent, noise, concat, image tokens, caption, timestep) of one sample."""
        generator = sample_generator(self.seed, sample)
        settings = self.conditioning
        drop = dropped(float(torch.rand((), generator=generator)), settings.drop_probability)
        mode = choose_mode(settings.concat, generator) if self.stage.concat else "none"
        timestep = draw_timestep(self.timesteps, generator)
        latents = self.encoders.latents(clip, generator)
        if mode == "loop":
            latents = palindrome(latents)
        frame = condition_frame(mode, latents.shape[1], generator)
        concat = concat_latents(self.picture_latents(clip, latents, generator), mode, frame)
        if concat is not None and settings.cil_noise:
            noise = torch.randn(concat.shape, generator=generator).to(concat)
            concat = concat + cil_noise_scale(timestep, generator) * noise
        if self.stage.images_only:
            latents = latents[:, frame : frame + 1]
        tokens = None
        if self.stage.image_tokens:
            tokens = (
                self.encoders.null_image_tokens()
                if drop.image
                else self.encoders.image_tokens(clip, frame)
            )
        short = float(torch.rand((), generator=generator)) < settings.motion_captions
        caption = clip.motion_caption if short else clip.caption
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        return latents, noise, concat, tokens, "" if drop.text else caption, timestep


def _stack(values: list[Tensor | None]) -> Tensor | None:
    present = [v for v in values if v is not None]
    if not present:
        return None
    zeros = torch.zeros_like(present[0])
    return torch.stack([zeros if v is None else v for v in values])
