"""Models and encoders to train from: an existing checkpoint of the family, or a preset."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dc_model.build import (
    build_networks,
    build_towers,
    build_vae,
    lend_encoders,
    missing_encoders,
)
from dc_model.checkpoint.detect import (
    Detection,
    Evidence,
    HeadDims,
    detect_variant,
    head_dims,
)
from dc_model.checkpoint.errors import CheckpointError, naming
from dc_model.checkpoint.inspect import FileContent, read_checkpoint
from dc_model.checkpoint.layout import CheckpointParts, split_checkpoint
from dc_model.encoders.tokenizer import Tokenize, clip_tokenizer
from dc_model.identify import statement
from dc_model.preprocess import clip_preprocess
from dc_model.shown import shown
from dc_model.variants import VARIANTS

from . import vocabulary
from .config import AUTO, ConfigError, ModelConfig
from .encoders import Encoders
from .model import VideoModel
from .stages import STAGES, Stage, StageName

log = logging.getLogger(__name__)

# What CLIP's last merge makes: one token, unless merges are missing.
LAST_WORD = "jekyll"
TOKENIZER_ADVICE = "Give ComfyUI's folder comfy/sd1_tokenizer."


class Loaded(NamedTuple):
    """A checkpoint's parts, what the file says of itself, and its attention heads' widths."""

    parts: CheckpointParts
    stated: Mapping[str, Any] = {}
    heads: HeadDims = HeadDims()


def load_checkpoint(config: ModelConfig, stage: Stage = STAGES["full"]) -> Loaded:
    """The checkpoint, with the encoders of `config.encoders` where that is given.

    Raises ConfigError when a file is missing, or an encoder that the stage needs in both, and
    CheckpointError, which names the file, for one that cannot be used.
    """
    for part in ("checkpoint", "encoders"):
        path = getattr(config, part)
        if path and not Path(path).is_file():
            raise ConfigError(
                f"model.{part} is '{shown(path)}', which does not exist; check the path."
            )
    with naming(config.checkpoint):
        loaded = split_content(read_checkpoint(config.checkpoint))
    parts = loaded.parts
    if config.encoders:
        lend_encoders(parts, config.encoders)
    tower = stage.image_tokens and bool(parts.projector or config.new_image_stream)
    missing = missing_encoders(parts, image_tower=tower)
    if missing:
        raise ConfigError(
            f"{config.checkpoint} lacks {missing}; set model.encoders to a full checkpoint."
        )
    return loaded


def split_content(content: FileContent) -> Loaded:
    """A file's parts and statement, which metadata makes, or the tensor of ComfyUI's savers.

    Raises CheckpointError for a file of another family and for a statement that cannot be read.
    """
    parts = split_checkpoint(content.tensors)
    stated = statement(content, parts)
    return Loaded(parts, stated, head_dims(stated))


def build_model(loaded: Loaded, dropout: float) -> VideoModel:
    """The networks of `build.build_networks`, to be trained."""
    return VideoModel(*build_networks(loaded.parts, dropout=dropout, heads=loaded.heads))


def fitting_stage(name: StageName, model: VideoModel, config: ModelConfig) -> Stage:
    """The stage as this model can take part in it; `lora` does without what the model lacks.

    Raises ConfigError when the model lacks an input that the stage is about.
    """
    stage, lacking = STAGES[name], []
    if name == "lora":
        has_projector, has_concat = model.projector is not None, model.unet.arch.takes_image
        return replace(stage, image_tokens=has_projector, concat=has_concat)
    if stage.image_tokens and model.projector is None:
        lacking.append("query transformer and image cross-attention")
    if stage.concat and not model.unet.arch.takes_image:
        lacking.append("input for visual detail guidance")
    if lacking:
        raise ConfigError(
            f"{config.checkpoint} is a text-to-video model without {' or '.join(lacking)}; set "
            "model.new_image_stream: true to add new ones, or give an image-to-video checkpoint."
        )
    return stage


def detected_variant(checkpoint: Path, evidence: Evidence, stated: Mapping[str, Any]) -> Detection:
    """What a checkpoint says of itself. Raises CheckpointError when it does not."""
    # Published files are all named alike, in folders that say which they are.
    name = f"{checkpoint.absolute().parent.name}/{checkpoint.name}"
    with naming(checkpoint):
        return detect_variant(evidence, stated, name)


def training_variant(config: ModelConfig, evidence: Evidence, stated: Mapping[str, Any]) -> str:
    """The variant to train as: the configuration's where it fits the file, else the file's.

    evidence, stated: of the file, before a new image stream. Raises ConfigError where they are
    trained to predict different things, or where neither says which it is.
    """
    if config.new_image_stream:
        if config.variant == AUTO:
            raise ConfigError(
                "No file says what a new image stream will be; set model.variant, as to 512."
            )
        return config.variant
    checkpoint = Path(config.checkpoint)
    try:
        found = detected_variant(checkpoint, evidence, stated)
    except CheckpointError:
        if config.variant == AUTO:
            raise
        return config.variant
    if config.variant == AUTO:
        log.info("Training as variant %s; set model.variant for another.", found.variant)
        return found.variant
    by_name_alone = found.assumption is not None and evidence.base_scale is None
    if not by_name_alone and aims(found.variant) != aims(config.variant):
        raise ConfigError(
            f"model.variant is {config.variant}, but {shown(checkpoint.name)} is {found.variant}, "
            "which is trained to predict something else. Remove model.variant to train it as it "
            "is, or choose another checkpoint."
        )
    return config.variant


def aims(name: str) -> tuple[object, ...]:
    """What a variant's training depends on; relatives that share it may become one another."""
    v = VARIANTS[name]
    objective = (v.parameterization, v.zero_terminal_snr, v.base_scale, v.final_scale)
    return (*objective, v.speed_unit, v.num_frames)


def require_fitting_size(size: tuple[int, int], model: VideoModel) -> None:
    """Raises ConfigError when the U-Net cannot halve the latents as often as it has to."""
    unit = 8 * 2 ** (len(model.unet.arch.channel_mult) - 1)
    if any(side % unit for side in size):
        raise ConfigError(
            f"data.size is {list(size)}; this model takes multiples of {unit}, so choose "
            f"{[max(unit, round(side / unit) * unit) for side in size]}."
        )


def require_known_words(tokenize: Tokenize, captions: Iterable[str]) -> None:
    """Raises ConfigError for a word that the demo model's tokenizer, the default, lacks."""
    for caption in captions:
        try:
            tokenize([caption])
        except KeyError as error:
            raise ConfigError(
                f"model.tokenizer is empty, so only the demo model's words are known, and "
                f"{shown(str(error))} is not one of them; set it to ComfyUI's folder "
                "comfy/sd1_tokenizer."
            ) from None


def build_encoders(
    loaded: Loaded,
    tokenize: Tokenize,
    *,
    device: torch.device | str = "cpu",
    keep: bool = False,
) -> Encoders:
    """The frozen encoders of a checkpoint, float32; without an image tower where it has none."""
    towers = build_towers(loaded.parts, loaded.heads)
    return Encoders(build_vae(loaded.parts), towers, tokenize, clip_preprocess, device, keep)


def tokenizer_of(folder: str) -> Tokenize:
    """CLIP's tokenizer of a folder (`clip_tokenizer`); an empty name gives the demo model's words.

    Raises ConfigError when the folder holds no vocabulary, or its files are damaged.
    """
    if not folder:
        return vocabulary.tokenize
    try:
        tokenize = clip_tokenizer(folder)
    except (FileNotFoundError, ImportError) as error:
        raise ConfigError(f"model.tokenizer: {error}") from None
    except Exception as error:  # noqa: BLE001 - the tokenizers package has no type of its own
        raise ConfigError(
            f"model.tokenizer {shown(folder)} cannot be used: {shown(error)}. {TOKENIZER_ADVICE}"
        ) from None
    if _lacks_merges(folder, tokenize):
        raise ConfigError(
            f"model.tokenizer {shown(folder)} has a merges.txt that is cut short, or of another "
            f"model than CLIP. {TOKENIZER_ADVICE}"
        )
    return tokenize


def _lacks_merges(folder: str, tokenize: Tokenize) -> bool:
    """Whether words of CLIP's vocabulary fall into pieces that no model has learned."""
    words = json.loads((Path(folder) / "vocab.json").read_text(encoding="utf-8"))
    tokens = int((tokenize([LAST_WORD]) != vocabulary.PAD).sum())
    return f"{LAST_WORD}</w>" in words and tokens != len(("start", LAST_WORD, "end"))
