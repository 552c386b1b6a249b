"""Models and encoders to train from: an existing checkpoint of the family, or a preset."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dc_model.checkpoint.detect import (
    CheckpointError,
    Detection,
    Evidence,
    detect_unet_arch,
    detect_variant,
    read_metadata,
)
from dc_model.checkpoint.inspect import naming, read_checkpoint
from dc_model.checkpoint.layout import CheckpointParts, shapes, split_checkpoint
from dc_model.encoders.autoencoder import Autoencoder, detect_autoencoder
from dc_model.encoders.clip import CONTEXT_LENGTH, Towers, detect_towers
from dc_model.preprocess import clip_preprocess
from dc_model.projection import Resampler, detect_projection_arch
from dc_model.shown import shown
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import VARIANTS

from . import vocabulary
from .config import AUTO, ConfigError, ModelConfig
from .encoders import Encoders, Tokenize
from .model import VideoModel, eager_attention_on_cpu
from .saving import load_tensors
from .stages import STAGES, Stage, StageName

log = logging.getLogger(__name__)


def load_parts(config: ModelConfig, stage: Stage = STAGES["full"]) -> CheckpointParts:
    """The checkpoint's parts, with the encoders of `config.encoders` where that is given.

    Raises ConfigError when a file is missing, or an encoder that the stage needs in both.
    """
    for part in ("checkpoint", "encoders"):
        path = getattr(config, part)
        if path and not Path(path).is_file():
            raise ConfigError(
                f"model.{part} is '{shown(path)}', which does not exist; check the path."
            )
    parts = split_checkpoint(load_tensors(Path(config.checkpoint)))
    if config.encoders:
        other = split_encoders(load_tensors(Path(config.encoders)))
        parts.vae = parts.vae or other["first_stage_model."]
        parts.text_encoder = parts.text_encoder or other["cond_stage_model."]
        parts.image_encoder = parts.image_encoder or other["embedder."]
    needs_tower = stage.image_tokens and bool(parts.projector or config.new_image_stream)
    missing = [
        name
        for name, lacks in (
            ("the VAE (first_stage_model)", not parts.vae),
            ("the text tower (cond_stage_model)", not parts.text_encoder),
            ("the image tower (embedder)", needs_tower and not parts.image_encoder),
        )
        if lacks
    ]
    if missing:
        raise ConfigError(
            f"{config.checkpoint} lacks {', '.join(missing)}; set model.encoders to a full "
            "checkpoint."
        )
    return parts


def split_encoders(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The encoders of a full checkpoint by prefix."""
    prefixes = ("first_stage_model.", "cond_stage_model.", "embedder.")
    return {
        p: {k.removeprefix(p): v for k, v in tensors.items() if k.startswith(p)} for p in prefixes
    }


def build_model(parts: CheckpointParts, dropout: float) -> VideoModel:
    """U-Net and query transformer from their shapes, in float32."""
    arch = replace(detect_unet_arch(shapes(parts.unet)), dropout=dropout)
    unet = DynamiCrafterUNet(arch, attention=eager_attention_on_cpu)
    unet.load_state_dict({k: v.float() for k, v in parts.unet.items()})
    projector = None
    if parts.projector:
        projector = Resampler(detect_projection_arch(shapes(parts.projector)))
        projector.load_state_dict({k: v.float() for k, v in parts.projector.items()})
    return VideoModel(unet, projector)


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


def detected_variant(checkpoint: Path, evidence: Evidence) -> Detection:
    """What a checkpoint says of itself. Raises CheckpointError when it does not."""
    # Published files are all named alike, in folders that say which they are.
    name = f"{checkpoint.absolute().parent.name}/{checkpoint.name}"
    with naming(checkpoint):
        metadata = read_checkpoint(checkpoint).metadata
        return detect_variant(evidence, read_metadata(metadata), name)


def training_variant(config: ModelConfig, evidence: Evidence) -> str:
    """The variant to train as: the configuration's where it fits the file, else the file's.

    evidence: of the file, before a new image stream. Raises ConfigError where they are trained to
    predict different things, or where neither says which it is.
    """
    if config.new_image_stream:
        if config.variant == AUTO:
            raise ConfigError(
                "No file says what a new image stream will be; set model.variant, as to 512."
            )
        return config.variant
    checkpoint = Path(config.checkpoint)
    try:
        found = detected_variant(checkpoint, evidence)
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
    parts: CheckpointParts,
    tokenize: Tokenize,
    *,
    device: torch.device | str = "cpu",
    keep: bool = False,
) -> Encoders:
    """The frozen encoders of a checkpoint, float32; without an image tower where it has none.

    The image tower's dead text keys are left out.
    """
    vae = Autoencoder(detect_autoencoder(shapes(parts.vae)))
    vae.load_state_dict({k: v.float() for k, v in parts.vae.items()})
    text = {f"text.{k.removeprefix('model.')}": v for k, v in parts.text_encoder.items()}
    visual = {k.removeprefix("model."): v for k, v in parts.image_encoder.items()}
    visual = {k: v for k, v in visual.items() if k.startswith("visual.")}
    state = {k: v.float() for k, v in (text | visual).items()}
    towers = Towers(detect_towers(shapes(state)), vision=bool(visual))
    towers.load_state_dict(state)
    return Encoders(vae, towers, tokenize, clip_preprocess, device, keep)


def clip_tokenizer(folder: str) -> Tokenize:
    """CLIP's tokenizer from a folder with `vocab.json` and `merges.txt`, padded with 0.

    ComfyUI ships such a folder: `comfy/sd1_tokenizer`. An empty name gives the demo model's words.
    Raises ConfigError when the folder holds no vocabulary.
    """
    if not folder:
        return vocabulary.tokenize
    if not (Path(folder) / "vocab.json").is_file():
        raise ConfigError(
            f"model.tokenizer is '{shown(folder)}', which holds no vocab.json; give ComfyUI's "
            "folder "
            "comfy/sd1_tokenizer."
        )
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder)

    def tokenize_clip(captions: list[str]) -> Tensor:
        rows = torch.zeros(len(captions), CONTEXT_LENGTH, dtype=torch.long)
        for row, caption in zip(rows, captions, strict=True):
            ids = tokenizer(caption, truncation=True, max_length=CONTEXT_LENGTH)["input_ids"]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    return tokenize_clip
