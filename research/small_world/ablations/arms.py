"""What is compared: the arms, the dimensions and the lengths that they share."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from dc_model.frames import QUERIES_PER_FRAME
from dc_model.projection import ProjectionArch
from training.conditioning import ConcatMode
from training.config import TrainConfig, read_config
from training.stages import STAGES, Stage

from ..train.preset import PROJECTOR

TEXT_TO_IMAGE = STAGES["text_to_image"]
TEXT_TO_VIDEO = STAGES["text_to_video"]

JOINT = STAGES["joint"]
THREE_STAGES = (STAGES["projector"], STAGES["adapt"], JOINT)

# The base's share of captions that name the motion alone; without any others no base moves.
MOTION_CAPTIONS = 0.25

Dose = Literal["full", "blurred", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes and lengths, the same for every arm.

    num_frames: of a clip; they hold its whole motion. image_steps, base_steps: of the base, on
    single frames and on clips. arm_steps: of every arm. base_batch, batch_size: clips; stages on
    single frames take four times as many. pool: different training clips. clips: measured.
    scenes: the seed of the scenes that are measured; the first run had 88. motion_captions: the
    arms' share of captions that name the motion alone: there the look comes by the picture.
    """

    num_frames: int = 8
    image_steps: int = 150
    base_steps: int = 1150
    arm_steps: int = 1200
    base_batch: int = 8
    batch_size: int = 4
    pool: int = 1000
    rate: float = 1e-3
    motion_captions: float = MOTION_CAPTIONS
    clips: int = 200
    scenes: int = 89
    sampling_steps: int = 8
    cfg: float = 4.0

    @property
    def projection(self) -> ProjectionArch:
        """The query transformer, with its queries for every frame."""
        return PROJECTOR._replace(num_latents=QUERIES_PER_FRAME * self.num_frames)


def settings(
    plan: Plan,
    output: Path,
    steps: int,
    *,
    batch_size: int,
    seed: int = 0,
    concat: ConcatMode = "random",
    motion_captions: float = MOTION_CAPTIONS,
) -> TrainConfig:
    """The training configuration that the base and all arms share."""
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
        "conditioning": {"concat": {concat: 1.0}, "motion_captions": motion_captions},
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
            "batch_size": batch_size,
            "ema_decay": 0.99,
            "seed": seed,
            "save_every": 250,
        },
    }
    return read_config(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A run from the base. The defaults are the full method's.

    dose: what visual detail guidance carries of the condition frame. concat: how that frame is
    drawn. stages: and what share of the plan's steps each takes. earlier: the arm that all stages
    but the last are shared with.
    """

    dose: Dose = "full"
    context: bool = True
    text: bool = True
    concat: ConcatMode = "random"
    stages: tuple[tuple[Stage, float], ...] = ((JOINT, 1.0),)
    earlier: str = ""


FULL, FIRST = "full method", "first frame"
FIRST_NO_VDG, FIRST_NO_PICTURE = f"{FIRST}, no VDG, context", f"{FIRST}, no VDG, no context"
FIRST_ALL_LAYERS = f"{FIRST}, all layers"
ALL_LAYERS = ((replace(JOINT, unet="all"), 1.0),)
CELLS: dict[str, Arm] = {
    FULL: Arm(),
    "full VDG, no context": Arm(context=False),
    "blurred VDG, context": Arm(dose="blurred"),
    "blurred VDG, no context": Arm(dose="blurred", context=False),
    "no VDG, context": Arm(dose="none"),
    "no VDG, no context": Arm(dose="none", context=False),
}
ARMS: dict[str, Arm] = CELLS | {
    FIRST: Arm(concat="first"),
    FIRST_NO_VDG: Arm(concat="first", dose="none"),
    FIRST_NO_PICTURE: Arm(concat="first", dose="none", context=False),
    FIRST_ALL_LAYERS: Arm(concat="first", stages=ALL_LAYERS),
    "all layers": Arm(stages=ALL_LAYERS),
    "trained without text": Arm(text=False),
    "three stages, equal in all": Arm(stages=tuple((stage, 1 / 3) for stage in THREE_STAGES)),
    "three stages, equal last": Arm(
        stages=tuple(zip(THREE_STAGES, (1 / 3, 1 / 3, 1.0), strict=True)),
        earlier="three stages, equal in all",
    ),
}
