"""Trains the demo model: encoders first, then the video model, resuming whatever is there.

`python -m research.small_world.train.chain --folder runs/demo` does all of it; `--only video` does
one part. The `demo.safetensors` that comes out, copied, is `assets/demo/small_world.safetensors`.

The video model is trained whole, as the published fine-tune; `--recipe paper` trains a
text-to-image model, then a text-to-video model, then the paper's three stages (section 3.3).
"""

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import save_file

from dc_model.checkpoint.layout import split_checkpoint
from training.batch import BatchMaker
from training.config import TrainConfig, load_config
from training.files import write_whole
from training.model import VideoModel
from training.saving import load_tensors
from training.stages import STAGES, StageName
from training.train import export
from training.trainer import Trainer

from ..world.dataset import SmallWorld
from . import towers as train_towers
from . import vae as train_vae
from .preset import encoders_of, new_model, small_encoders

log = logging.getLogger(__name__)

DEFAULT_CONFIG = Path(__file__).parents[1] / "configs" / "small_world.yaml"
PAPER: tuple[StageName, ...] = ("text_to_image", "text_to_video", "projector", "adapt", "joint")


class StepLog:
    """Logs a running mean of the loss, all and late timesteps apart."""

    def __init__(self, every: int):
        self.every, self.began = every, time.monotonic()
        self.all: list[float] = []
        self.late: list[float] = []

    def __call__(self, step: int, loss: float, buckets: dict[str, float]) -> None:
        self.all.append(loss)
        if "750-999" in buckets:
            self.late.append(buckets["750-999"])
        if step % self.every == 0:
            minutes = (time.monotonic() - self.began) / 60
            late = sum(self.late) / max(1, len(self.late))
            mean = sum(self.all) / len(self.all)
            log.info("%.1f min, step %d, loss %.4f, t >= 750 %.4f", minutes, step, mean, late)
            self.all, self.late = [], []


def make_trainer(
    config: TrainConfig, folder: Path, accelerator: Accelerator, start: VideoModel | None = None
) -> Trainer:
    """The trainer of one stage on the small world, with the encoders in `folder`."""
    encoders = small_encoders(folder, keep=config.data.cache)
    if config.data.cache_folder:
        encoders.use_disk(Path(config.data.cache_folder), config.run.mixed_precision)
    return Trainer(
        config=config,
        model=new_model(config.run.seed) if start is None else start,
        source=SmallWorld(config.data.pool, config.run.seed, num_frames=config.data.num_frames),
        maker=BatchMaker.configured(config, encoders, STAGES[config.stage]),
        accelerator=accelerator,
        on_step=StepLog(config.run.log_every),
    )


def unpack(checkpoint: Path, folder: Path) -> VideoModel:
    """Split a demo checkpoint: the encoders into `folder`, the video model returned, float32."""
    parts = split_checkpoint({k: v.float() for k, v in load_tensors(checkpoint).items()})
    encoders = encoders_of(parts)
    towers = {k: v for k, v in encoders.towers.state_dict().items() if not k.endswith(".mask")}
    for name, state in (("vae", encoders.vae.state_dict()), ("towers", towers)):
        tensors = {k: v.contiguous() for k, v in state.items()}
        write_whole(folder / f"{name}.safetensors", lambda path, t=tensors: save_file(t, path))
    model = new_model(0)
    model.unet.load_state_dict(parts.unet)
    assert model.projector is not None
    model.projector.load_state_dict(parts.projector)
    return model


def train_video(
    folder: Path,
    config_file: Path,
    overrides: dict[str, Any],
    *,
    start: VideoModel | None = None,
    export_only: bool = False,
    name: str = "video",
) -> Trainer:
    """Train the video model, or take its last state, and export `demo.safetensors`.

    start: the model to begin with where the folder has no state yet; None is a random one.
    name: the state's folder in `folder`.
    """
    config = load_config(config_file, {"output": str(folder / name), **overrides})
    accelerator = Accelerator(mixed_precision=config.run.mixed_precision)
    trainer = make_trainer(config, folder, accelerator, start)
    if not export_only:
        trainer.train()
    export(trainer, folder / "demo.safetensors", head_dim={"unet": 64})
    return trainer


def train_stages(
    folder: Path,
    config_file: Path,
    overrides: dict[str, Any],
    stages: Sequence[StageName] = PAPER,
    *,
    start: VideoModel | None = None,
) -> None:
    """Train stage after stage, each from the averaged weights of the one before.

    The configuration's steps are each stage's. A stage that its time limit stopped continues when
    this is called again, before the next one begins.
    """
    for number, stage in enumerate(stages, 1):
        name = f"{number}_{stage}"
        values = {**overrides, "stage": stage}
        trainer = train_video(folder, config_file, values, start=start, name=name)
        if trainer.step < trainer.config.run.steps:
            log.info("Stopped in stage %s; the same command continues.", name)
            return
        with trainer.averaged():
            start = new_model(trainer.config.run.seed)
            start.load_state_dict(trainer.raw.state_dict())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG)
    parser.add_argument("--only", choices=("vae", "towers", "video", "export"))
    parser.add_argument("--vae-minutes", type=float, default=30)
    parser.add_argument("--towers-minutes", type=float, default=6)
    parser.add_argument("--time-limit", type=float, default=0, help="minutes for the video model")
    parser.add_argument("--steps", type=int, help="of the video model, or of each stage")
    parser.add_argument(
        "--recipe", choices=("whole", "paper"), default="whole", help="paper: its stages"
    )
    parser.add_argument(
        "--warm-start", type=Path, help="a demo checkpoint to continue from, with a fresh optimizer"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    start = unpack(arguments.warm_start, folder) if arguments.warm_start else None
    vae, towers = folder / "vae.safetensors", folder / "towers.safetensors"
    if arguments.only in (None, "vae") and not vae.exists():
        train_vae.train(vae, minutes=arguments.vae_minutes)
    if arguments.only in (None, "towers") and not towers.exists():
        train_towers.train(towers, minutes=arguments.towers_minutes)
    if arguments.only in (None, "video", "export"):
        overrides: dict[str, Any] = {"run.time_limit": arguments.time_limit}
        if arguments.steps:
            overrides["run.steps"] = arguments.steps
        if arguments.recipe == "paper" and arguments.only != "export":
            train_stages(folder, arguments.config, overrides, start=start)
            return
        export_only = arguments.only == "export"
        train_video(folder, arguments.config, overrides, start=start, export_only=export_only)


if __name__ == "__main__":
    main()
