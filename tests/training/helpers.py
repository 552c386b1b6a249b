"""A tiny video model, fake encoders and random clips."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from small_archs import small_unet
from torch import Tensor

from dc_model.projection import ProjectionArch, Resampler
from dc_model.sampling.schedule import schedule_of
from dc_model.unet.ops import eager_attention_on_cpu
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import VARIANTS, UNetArch
from research.small_world.world.dataset import SmallWorld
from training.batch import BatchMaker
from training.config import TrainConfig, read_config
from training.data.clip import Clip
from training.model import VideoModel
from training.stages import STAGES
from training.train import make_trainer
from training.trainer import Trainer

# AdamW divides a gradient by its own size, so float32 rounding in a gradient near 0 would show; in
# float64 only a difference in method does.
WIDE = torch.float64
FRAMES = 4
ARCH = small_unet(
    attention_levels=(False, True), head_dim=32, context_dim=16, learnable_image_scale=True
)
PROJECTOR = ProjectionArch(
    dim=16, depth=1, heads=1, head_dim=16, num_latents=16 * FRAMES, embedding_dim=8, output_dim=16
)


def small_trainer(config: TrainConfig) -> Trainer:
    """The trainer of a configuration, on clips of the small world."""
    data = config.data
    source = SmallWorld(data.pool, config.run.seed, num_frames=data.num_frames)
    return make_trainer(config, Accelerator(cpu=True), source)


def tiny_model(seed: int = 0, arch: UNetArch = ARCH) -> VideoModel:
    """Random everywhere, so every parameter of a stage gets a gradient."""
    model = VideoModel(
        DynamiCrafterUNet(arch, attention=eager_attention_on_cpu), Resampler(PROJECTOR)
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.ndim > 1:
                p.copy_(noise / p[0].numel() ** 0.5)
            else:
                p.copy_(0.1 * noise + (1 if name.endswith("weight") else 0))
    return model


class FakeEncoders:
    """Latents are the clip's frames; tokens are functions of the caption's length and the frame."""

    def __init__(self, dtype: torch.dtype = torch.float32):
        self.dtype = dtype

    def latents(self, clip: Clip, generator: torch.Generator) -> Tensor:
        del generator
        return clip.frames.transpose(0, 1).to(self.dtype)

    def image_tokens(self, clip: Clip, frame: int) -> Tensor:
        tokens = clip.frames[frame].mean() + torch.linspace(0, 1, 5 * 8).view(5, 8)
        return tokens.to(self.dtype)

    def null_image_tokens(self) -> Tensor:
        return torch.zeros(5, 8, dtype=self.dtype)

    def text(self, captions: list[str]) -> Tensor:
        lengths = torch.tensor([float(len(c)) for c in captions], dtype=self.dtype)
        return lengths.view(-1, 1, 1) + torch.linspace(0, 1, 7 * 16).view(1, 7, 16)


@dataclass
class FakeSource:
    """Random clips whose latents are `[4, FRAMES, 4, 4]`."""

    count: int = 6
    skipped: int = 0

    def __len__(self) -> int:
        return self.count

    def load(self, index: int, draw: int) -> Clip:
        del draw
        generator = torch.Generator().manual_seed(index)
        frames = torch.randn(FRAMES, 4, 4, 4, generator=generator)
        return Clip(f"{index}", frames, "a red circle moves left", "moves left", 8.0, 2)


def tiny_config(output: Path | str, stage: str = "full", **sections: Any) -> TrainConfig:
    """A configuration for the tiny model; sections are merged into the defaults."""
    run = {
        "steps": 4,
        "batch_size": 2,
        "save_every": 0,
        "ema_decay": 0.9,
        **sections.pop("run", {}),
    }
    values = {
        "stage": stage,
        "output": str(output),
        "model": sections.pop("model", {"preset": "tiny"}),
        "optimizer": {"rate": 1e-3, **sections.pop("optimizer", {})},
        "run": run,
        **sections,
    }
    return read_config(values)


def tiny_trainer(
    config: TrainConfig,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    arch: UNetArch = ARCH,
    accelerator: Accelerator | None = None,
    rate_factors: Mapping[str, float] | None = None,
) -> Trainer:
    """A trainer on the CPU."""
    variant = VARIANTS["512"]
    maker = BatchMaker(
        encoders=FakeEncoders(dtype),  # type: ignore[arg-type]
        schedule=schedule_of(variant),
        variant=variant,
        stage=STAGES[config.stage],
        conditioning=config.conditioning,
        timesteps=config.optimizer.timesteps,
        seed=config.run.seed,
    )
    return Trainer(
        config=config,
        model=tiny_model(seed, arch).to(dtype),
        source=FakeSource(),
        maker=maker,
        accelerator=accelerator or Accelerator(cpu=True),
        rate_factors=rate_factors or {},
    )
