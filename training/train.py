"""Trains one stage: `python -m training.train CONFIG.yaml [--set run.steps=100 ...]`.

On several GPUs or nodes: `accelerate launch -m training.train CONFIG.yaml` with a file of
training/configs/accelerate. Started again it continues where it stopped.
"""

import argparse
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from dc_model.checkpoint.errors import CheckpointError, naming
from dc_model.shown import shown

from .batch import BatchMaker
from .config import ConfigError, TrainConfig, load_config
from .data.clip import ClipSource
from .data.entries import Entry
from .data.sources import VideoSource, open_source
from .distributed import make_accelerator
from .identity import contents_of
from .image_stream import add_image_stream
from .load import (
    build_encoders,
    build_model,
    fitting_stage,
    load_checkpoint,
    require_fitting_size,
    require_known_words,
    tokenizer_of,
    training_variant,
)
from .lora import lora_tensors
from .monitor import Monitor, one_bar
from .saving import checkpoint_tensors, save_checkpoint, unusual_heads
from .stages import STAGES
from .trainer import Trainer

log = logging.getLogger(__name__)

# Every published model gives 16 frames image tokens of their own.
NEW_STREAM_FRAMES = 16


def make_trainer(
    config: TrainConfig, accelerator: Accelerator, source: ClipSource | None = None
) -> Trainer:
    """Model, encoders and data as configured. Raises ConfigError or CheckpointError.

    source: clips in place of those that the configuration names.
    """
    if config.model.preset:
        raise ConfigError(
            "model.preset is set; use `python -m research.small_world.train.chain` to train it."
        )
    prepare_folder("output", Path(config.output))
    if config.data.cache_folder:
        prepare_folder("data.cache_folder", Path(config.data.cache_folder))
    source = source or open_source(config.data)
    entries = source.entries if isinstance(source, VideoSource) else []
    tokenize = tokenizer_of(config.model.tokenizer)
    require_known_words(tokenize, (text for e in entries for text in (e.caption, e.motion_caption)))
    warn_of_missing_words(config.conditioning.motion_captions, entries)
    source.load(0, 0)  # What cannot be read is said before the model is loaded.
    loaded = load_checkpoint(config.model, STAGES[config.stage])
    evidence = loaded.parts.evidence()
    if config.model.new_image_stream:
        add_image_stream(loaded.parts, NEW_STREAM_FRAMES, config.run.seed, loaded.heads)
    with naming(config.model.checkpoint):
        model = build_model(loaded, config.run.dropout)
    stage = fitting_stage(config.stage, model, config.model)
    name = training_variant(config.model, evidence, loaded.stated)
    config = config.model_copy(update={"model": config.model.model_copy(update={"variant": name})})
    require_fitting_size(config.data.size, model)
    with naming(config.model.checkpoint):
        encoders = build_encoders(
            loaded, tokenize, device=accelerator.device, keep=config.data.cache
        )
    if config.data.cache_folder:
        encoders.use_disk(Path(config.data.cache_folder), config.run.mixed_precision)
    monitor = Monitor(Path(config.output), config.run)
    return Trainer(
        config=config,
        model=model,
        source=source,
        maker=BatchMaker.configured(config, encoders, stage),
        accelerator=accelerator,
        contents=contents_of(config.model, entries),
        on_step=monitor.step,
        on_sample=monitor.sample,
    )


def warn_of_missing_words(share: float, entries: Sequence[Entry]) -> None:
    """A warning where motion captions are asked for and no video has motion words."""
    if share and entries and not any(entry.motion_caption for entry in entries):
        log.warning(
            "conditioning.motion_captions is %g, but no video of data.path has motion words, so "
            "all captions stay whole; give a table the column dynamic_wording, or set it to 0.",
            share,
        )


def prepare_folder(setting: str, folder: Path) -> None:
    """Make the folder that `setting` names. Raises ConfigError where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{setting} {shown(folder)} cannot be written to: {error.strerror}."
        ) from None


def export(trainer: Trainer, path: Path, **stated: Any) -> None:
    """The averaged weights: a checkpoint with all parts, or an adapter file for `lora`.

    stated: what the file says of itself beside the variant and heads of other than the published
    widths.
    Only the main process writes; every process must call it.
    """
    adapter = trainer.config.stage == "lora"
    heads = {} if adapter else unusual_heads(trainer.raw, trainer.maker.encoders)
    statement: dict[str, Any] = {"variant": trainer.config.model.variant}
    statement |= ({"head_dim": heads} if heads else {}) | stated
    with trainer.averaged():
        if adapter:
            tensors = lora_tensors(trainer.raw.unet)
        else:
            tensors = checkpoint_tensors(
                trainer.raw, trainer.maker.encoders, trainer.maker.schedule
            )
        if trainer.accelerator.is_main_process:
            save_checkpoint(path, tensors, statement)
            log.info("Wrote %s.", path)


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """`["run.steps=10"]` to `{"run.steps": 10}`; values are YAML. Raises ConfigError."""
    from .yaml12 import read_yaml

    out = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise ConfigError(f"--set {pair} has no '='; write KEY=VALUE.")
        try:
            out[key] = read_yaml(value)
        except ValueError as error:
            raise ConfigError(f"--set {pair} is not YAML: {error}.") from None
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--time-limit", type=float, help="minutes; then save and stop")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        overrides = parse_overrides(arguments.set)
        if arguments.time_limit is not None:
            overrides["run.time_limit"] = arguments.time_limit
        run(load_config(arguments.config, overrides))
    except (ConfigError, CheckpointError) as error:
        parser.exit(1, f"{error}\n")


def run(config: TrainConfig) -> None:
    """Train the stage to its end or its time limit, and write `model.safetensors`."""
    accelerator = make_accelerator(config)
    if not accelerator.is_main_process:
        logging.getLogger().setLevel(logging.WARNING)
    trainer = make_trainer(config, accelerator)
    if accelerator.is_main_process:
        log.info(
            "Stage %s: %d tensors train on %d clips, from step %d to %d.",
            config.stage,
            len(trainer.trained),
            len(trainer.source),
            trainer.step,
            config.run.steps,
        )
    with one_bar():
        trainer.train()
    export(trainer, Path(config.output) / "model.safetensors")


if __name__ == "__main__":
    main()
