"""What is compared: the arms, the dimensions and the lengths that they share."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dc_model.frames import QUERIES_PER_FRAME
from dc_model.projection import ProjectionArch
from dc_model.variants import UNetArch
from training.conditioning import ConcatMode
from training.config import TrainConfig, read_config
from training.stages import STAGES, Stage

from ..train.preset import PROJECTOR, UNET

TEXT_TO_IMAGE = STAGES["text_to_image"]
TEXT_TO_VIDEO = STAGES["text_to_video"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes and lengths, the same for every arm; the defaults are those of the published tables.

    num_frames: the first so many of each clip's 16. image_steps, base_steps: of the base, on single
    frames and on clips. arm_steps: of every arm, all its stages together. batch_size: clips; stages
    on single frames take four times as many. pool: different training clips. clips: measured per
    arm and seed.
    """

    num_frames: int = 8
    image_steps: int = 150
    base_steps: int = 200
    arm_steps: int = 240
    batch_size: int = 4
    pool: int = 1000
    rate: float = 1e-3
    clips: int = 30
    sampling_steps: int = 8
    cfg: float = 2.0

    def arch(self, *, learnable: bool) -> UNetArch:
        """The U-Net, with a gate lambda per layer or without."""
        return replace(UNET, learnable_image_scale=learnable)

    @property
    def projection(self) -> ProjectionArch:
        """The query transformer, with its queries for every frame."""
        return replace(PROJECTOR, num_latents=QUERIES_PER_FRAME * self.num_frames)


@dataclass(frozen=True, slots=True)
class Arm:
    """A run of one or more stages from the base, each with its share of the steps.

    seeds: 3 for the headline arms.
    """

    stages: tuple[Stage, ...]
    concat: ConcatMode = "random"
    learnable: bool = True
    seeds: int = 1

    @property
    def image_tokens(self) -> bool:
        """Whether the trained model knows the context stream."""
        return self.stages[-1].image_tokens

    @property
    def uses_concat(self) -> bool:
        """Whether the trained model knows visual detail guidance."""
        return self.stages[-1].concat


JOINT = STAGES["joint"]
FULL = "full method"
BASE = "base"
ARMS: dict[str, Arm] = {
    FULL: Arm((JOINT,), seeds=3),
    "without context": Arm((replace(JOINT, image_tokens=False, projector=False),), seeds=3),
    "without VDG": Arm((replace(JOINT, concat=False),), seeds=3),
    "first frame": Arm((JOINT,), concat="first"),
    "three stages": Arm((STAGES["projector"], STAGES["adapt"], JOINT)),
    "all layers": Arm((replace(JOINT, unet="all"),)),
    "fixed lambda": Arm((JOINT,), learnable=False, seeds=3),
}
BASE_ARM = Arm((TEXT_TO_VIDEO,))  # the base itself, as it is sampled


def settings(
    plan: Plan, output: Path, stage: Stage, steps: int, seed: int, concat: ConcatMode
) -> TrainConfig:
    """The training configuration that all arms share."""
    values: dict[str, Any] = {
        "stage": "joint",
        "output": str(output),
        "model": {"preset": "small_world", "variant": "512"},
        "data": {
            "kind": "small_world",
            "pool": plan.pool,
            "cache": True,
            "num_frames": plan.num_frames,
        },
        "conditioning": {"concat": {concat: 1.0}},
        "optimizer": {
            "rate": plan.rate,
            "betas": [0.9, 0.99],
            "warmup_steps": min(30, steps // 4),
            "decay": "cosine",
            "clip_norm": 1.0,
            "timesteps": "late",
        },
        "run": {
            "steps": steps,
            "batch_size": plan.batch_size * (4 if stage.images_only else 1),
            "mixed_precision": "bf16",
            "seed": seed,
            "save_every": 200,
        },
    }
    return read_config(values)
