"""Trains one stage: `python -m training.train CONFIG.yaml [--set run.steps=100 ...]`.

On several GPUs or nodes: `accelerate launch -m training.train CONFIG.yaml` with a file of
training/configs/accelerate. Started again it goes on where it stopped.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.logging import get_logger

from dc_model.variants import VARIANTS

from .batch import BatchMaker
from .config import ConfigError, TrainConfig, load_config
from .data.sources import open_source
from .load import build_encoders, build_model, clip_tokenizer, load_parts
from .lora import lora_tensors
from .monitor import Monitor
from .objective import schedule_of
from .saving import checkpoint_tensors, save_checkpoint
from .stages import STAGES
from .trainer import Trainer

log = get_logger(__name__)


def make_trainer(config: TrainConfig, accelerator: Accelerator) -> Trainer:
    """Model, encoders and data as configured. Raises ConfigError or CheckpointError."""
    if config.model.variant not in VARIANTS:
        raise ConfigError(
            f"model.variant is {config.model.variant!r}; choose one of {', '.join(VARIANTS)}."
        )
    if config.model.preset:
        raise ConfigError("Presets are trained by `python -m training.small_world.chain`.")
    variant = VARIANTS[config.model.variant]
    parts = load_parts(config.model)
    tokenize = clip_tokenizer(config.model.tokenizer)
    encoders = build_encoders(parts, tokenize, device=accelerator.device, keep=config.data.cache)
    maker = BatchMaker(
        encoders=encoders,
        schedule=schedule_of(variant),
        variant=variant,
        stage=STAGES[config.stage],
        conditioning=config.conditioning,
        timesteps=config.optimizer.timesteps,
        seed=config.run.seed,
    )
    monitor = Monitor(Path(config.output), config.run)
    return Trainer(
        config=config,
        model=build_model(parts, config.run.dropout),
        source=open_source(config.data, config.run.seed),
        maker=maker,
        accelerator=accelerator,
        on_step=monitor.step,
        on_sample=monitor.sample,
    )


def export(trainer: Trainer, path: Path) -> None:
    """The averaged weights: a checkpoint with all parts, or an adapter file for `lora`."""
    statement = {"variant": trainer.config.model.variant}
    with trainer.averaged():
        if trainer.config.stage == "lora":
            save_checkpoint(path, lora_tensors(trainer.raw.unet), statement)
        else:
            tensors = checkpoint_tensors(
                trainer.raw, trainer.maker.encoders, trainer.maker.schedule
            )
            save_checkpoint(path, tensors, statement)


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """`["run.steps=10"]` to `{"run.steps": 10}`; values are YAML. Raises ConfigError."""
    import yaml

    out = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise ConfigError(f"--set {pair} has no '='; write KEY=VALUE.")
        out[key] = yaml.safe_load(value)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--time-limit", type=float, help="minutes; then save and stop")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    overrides = parse_overrides(arguments.set)
    if arguments.time_limit is not None:
        overrides["run.time_limit"] = arguments.time_limit
    config = load_config(arguments.config, overrides)
    accelerator = Accelerator(mixed_precision=config.run.mixed_precision)
    trainer = make_trainer(config, accelerator)
    log.info("Stage %s trains %d tensors.", config.stage, len(trainer.trained))
    trainer.train()
    if accelerator.is_main_process:
        export(trainer, Path(config.output) / "model.safetensors")


if __name__ == "__main__":
    main()
