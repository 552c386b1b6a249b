"""The paper's questions, asked on the small world from one shared text-to-video base.

`python -m training.small_world.experiments --folder runs/questions` trains the base, then every
arm, measures each and writes `results.json`; `--only NAME` one arm, `--report FILE.md` the tables.
The folder holds the encoders and the extractor (`chain --only vae`, `--only towers`, `extractor`).
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from dc_model.feature_distance import frechet_distance, kernel_distance
from dc_model.variants import VARIANTS, UNetArch
from dc_model.video_features import extract

from ..batch import BatchMaker
from ..conditioning import ConcatMode
from ..config import TrainConfig, build
from ..model import VideoModel
from ..objective import schedule_of
from ..saving import write_whole
from ..stages import STAGES, Stage
from ..trainer import Trainer
from .chain import StepLog
from .dataset import SmallWorld
from .evaluate import Demo, Settings, central, psnr
from .extractor import load_extractor
from .preset import NUM_GATES, UNET, new_model, small_encoders
from .render import render_clip
from .scenes import make_scene
from .tracker import motion_of, track

log = logging.getLogger(__name__)

LEARNABLE = replace(UNET, learnable_image_scale=True)
BASE = Stage("all", projector=False, image_tokens=False)
MAX_STEPS = 1500
DEFAULT = Settings()


@dataclass(frozen=True, slots=True)
class Arm:
    """A run of one or more stages from the base. headline: measured with three seeds."""

    stages: tuple[tuple[Stage, int], ...]
    concat: ConcatMode = "random"
    arch: UNetArch = LEARNABLE
    headline: bool = False


def _joint(**changes: Any) -> tuple[tuple[Stage, int], ...]:
    return ((replace(STAGES["joint"], **changes), MAX_STEPS),)


ARMS: dict[str, Arm] = {
    "full method": Arm(_joint(), headline=True),
    "without context": Arm(_joint(image_tokens=False, projector=False), headline=True),
    "without VDG": Arm(_joint(concat=False), headline=True),
    "fixed lambda": Arm(_joint(), arch=UNET),
    "first frame": Arm(_joint(), concat="first"),
    "three stages": Arm(
        (
            (STAGES["projector"], MAX_STEPS // 3),
            (STAGES["adapt"], MAX_STEPS // 3),
            (STAGES["joint"], MAX_STEPS // 3),
        ),
        headline=True,
    ),
    "all layers": Arm(_joint(unet="all")),
}


def arm_config(output: Path, steps: int, seed: int, concat: ConcatMode) -> TrainConfig:
    """The settings that all arms share."""
    values = {
        "stage": "joint",
        "output": str(output),
        "model": {"preset": "small_world"},
        "data": {"kind": "small_world", "pool": 1500, "cache": True},
        "conditioning": {"concat": {concat: 1.0}},
        "optimizer": {"rate": 1e-3, "betas": [0.9, 0.99], "clip_norm": 1.0, "timesteps": "late"},
        "run": {"steps": steps, "batch_size": 4, "mixed_precision": "bf16", "seed": seed},
    }
    return build(TrainConfig, values, "")


def run_stage(
    model: VideoModel, folder: Path, output: Path, stage: Stage, config: TrainConfig
) -> None:
    """Train `model` in place and leave its averaged weights in it."""
    variant = VARIANTS["512"]
    maker = BatchMaker(
        encoders=small_encoders(folder),
        schedule=schedule_of(variant),
        variant=variant,
        stage=stage,
        conditioning=config.conditioning,
        timesteps=config.optimizer.timesteps,
        seed=config.run.seed,
    )
    source = SmallWorld(config.data.pool, config.run.seed)
    accelerator = Accelerator(mixed_precision=config.run.mixed_precision)
    trainer = Trainer(config, model, source, maker, accelerator, StepLog(100))
    trainer.train()
    assert trainer.ema is not None
    averaged = dict(trainer.ema.shadow)
    model.load_state_dict(averaged, strict=False)
    write_whole(output / "model.pt", lambda path: torch.save(model.state_dict(), path))


def train_base(folder: Path, seed: int, steps: int) -> dict[str, torch.Tensor]:
    """The text-to-video model that every arm starts from; trained once per seed."""
    output = folder / f"base {seed}"
    weights = output / "model.pt"
    if not weights.exists():
        model = new_model(seed, LEARNABLE)
        run_stage(model, folder, output, BASE, arm_config(output, steps, seed, "random"))
    return torch.load(weights, weights_only=True)


def train_arm(folder: Path, name: str, seed: int, base_steps: int) -> VideoModel:
    """The arm's model, trained or read back."""
    arm = ARMS[name]
    model = new_model(seed, arm.arch)
    base = train_base(folder, seed, base_steps)
    known = model.state_dict()
    model.load_state_dict({k: v for k, v in base.items() if k in known})
    for number, (stage, steps) in enumerate(arm.stages):
        output = folder / f"{name} {seed}" / str(number)
        if (output / "model.pt").exists():
            model.load_state_dict(torch.load(output / "model.pt", weights_only=True))
            continue
        run_stage(model, folder, output, stage, arm_config(output, steps, seed, arm.concat))
    return model.eval()


def measure(
    model: VideoModel, folder: Path, arm: Arm, clips: int, settings: Settings = DEFAULT
) -> dict[str, float]:
    """FVD, KVD, motion as told and picture kept on held-out scenes."""
    encoders = small_encoders(folder, keep=False)
    stage = arm.stages[-1][0]
    demo = Demo(model, encoders, image_tokens=stage.image_tokens, concat=stage.concat)
    scenes = [central(make_scene(88, i, "held_out")) for i in range(clips)]
    videos = demo.generate(scenes, settings)
    true = torch.from_numpy(np.stack([render_clip(s) for s in scenes]))
    extractor = load_extractor(folder / "extractor.safetensors")
    real, generated = extract(extractor, true), extract(extractor, videos)
    frames = videos.numpy()
    told = [motion_of(track(v, s)) == s.motion for v, s in zip(frames, scenes, strict=True)]
    first = [psnr(v[0], t[0]) for v, t in zip(frames, true.numpy(), strict=True)]
    return {
        "FVD": frechet_distance(real, generated),
        "KVD": kernel_distance(real, generated),
        "motion as told": float(np.mean(told)),
        "first frame, dB": float(np.mean(first)),
    }


def gates(model: VideoModel) -> list[float]:
    """tanh(alpha) + 1 of every image cross-attention, in the order of the forward pass."""
    alphas = [v for k, v in model.unet.state_dict().items() if k.endswith("attn2.alpha")]
    return [float(torch.tanh(a) + 1) for a in alphas]


def gate_trials(model: VideoModel, folder: Path, clips: int) -> dict[str, dict[str, float]]:
    """The full method with its outer or middle gates raised, lowered or switched off."""
    outer = (0, NUM_GATES - 1)
    trials = {"off": (0.0,) * NUM_GATES}
    for label, value in (("raised", 1.5), ("lowered", 0.5)):
        trials[f"outer {label}"] = tuple(value if i in outer else 1.0 for i in range(NUM_GATES))
        trials[f"middle {label}"] = tuple(1.0 if i in outer else value for i in range(NUM_GATES))
    out = {}
    for label, scales in trials.items():
        model.image_scales = scales
        out[f"lambda: {label}"] = measure(model, folder, ARMS["full method"], clips)
    model.image_scales = None
    return out


def report(results: dict[str, list[dict[str, float]]]) -> str:
    """A Markdown table; with several seeds the mean and the 95 % interval's half width."""
    columns = ["FVD", "KVD", "motion as told", "first frame, dB"]
    lines = ["| arm | seeds | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name, runs in results.items():
        cells = [interval([run[c] for run in runs]) for c in columns]
        lines.append(f"| {name} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def interval(values: Sequence[float]) -> str:
    """The mean, and with three or more values Student's 95 % half width."""
    mean = float(np.mean(values))
    if len(values) < 3:
        return f"{mean:.3f}"
    quantiles = {3: 4.303, 4: 3.182, 5: 2.776}
    half = quantiles.get(len(values), 1.96) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"{mean:.3f} ± {half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", choices=tuple(ARMS))
    parser.add_argument("--seeds", type=int, default=3, help="of the headline arms")
    parser.add_argument("--base-steps", type=int, default=1500)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--report", type=Path, help="write the tables here")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder: Path = arguments.folder
    file = folder / "results.json"
    results: dict[str, list[dict[str, float]]] = {}
    if file.exists():
        results = json.loads(file.read_text(encoding="utf-8"))
    for name in [arguments.only] if arguments.only else list(ARMS):
        seeds = arguments.seeds if ARMS[name].headline else 1
        for seed in range(len(results.get(name, [])), seeds):
            model = train_arm(folder, name, seed, arguments.base_steps)
            results.setdefault(name, []).append(measure(model, folder, ARMS[name], arguments.clips))
            if name == "full method" and seed == 0:
                log.info("gates: %s", gates(model))
                for label, figures in gate_trials(model, folder, arguments.clips).items():
                    results[label] = [figures]
            text = json.dumps(results, indent=1)
            write_whole(file, lambda path, text=text: path.write_text(text, encoding="utf-8"))
    if arguments.report:
        arguments.report.write_text(report(results), encoding="utf-8")
    log.info("\n%s", report(results))


if __name__ == "__main__":
    main()
