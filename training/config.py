"""A stage's configuration: typed, checked, read from YAML; unknown keys are refused."""

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from dc_model.shown import shown
from dc_model.variants import VARIANTS

from .conditioning import ConcatMode
from .objective import TimestepSampling
from .stages import StageName

# The file says which variant it is.
AUTO = "auto"

Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
# The VAE makes one value of 8 pixels.
Side = Annotated[int, Field(ge=8, multiple_of=8)]
NonEmpty = Annotated[str, Field(min_length=1)]
# What a generator of PyTorch takes.
Seed = Annotated[int, Field(ge=0, lt=2**64)]
# What file systems take, in bytes.
MAX_NAME, MAX_PATH = 255, 4095


class ConfigError(ValueError):
    """A configuration or data that cannot be used; the message names the key or the file."""


def _ordered(strides: tuple[int, int]) -> tuple[int, int]:
    if strides[0] > strides[1]:
        raise ValueError("write the smaller stride first")
    return strides


def _drawable(weights: dict[ConcatMode, float]) -> dict[ConcatMode, float]:
    if not any(weights.values()):
        raise ValueError("give at least one mode a weight above 0")
    return weights


def _known_variant(name: str) -> str:
    if name not in (AUTO, *VARIANTS):
        raise ValueError(f"choose one of {', '.join((AUTO, *VARIANTS))}")
    return name


def _possible(path: str) -> str:
    if "\0" in path:
        raise ValueError("no path holds the character NUL; remove it")
    size = max(len(os.fsencode(name)) for name in path.split("/"))
    if size > MAX_NAME or len(os.fsencode(path)) > MAX_PATH:
        raise ValueError(
            f"a path has at most {MAX_PATH} bytes and each name in it {MAX_NAME}; choose a shorter"
        )
    return path


def _as_text(value: Any) -> Any:
    """YAML reads `512` without quotes as a number."""
    return str(value) if type(value) is int else value


PathName = Annotated[str, AfterValidator(_possible)]
VariantName = Annotated[str, BeforeValidator(_as_text), AfterValidator(_known_variant)]


class Section(BaseModel):
    """A part of the configuration: types are never bent, unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


class ModelConfig(Section):
    """Where the weights come from.

    checkpoint: a full checkpoint of this family (all five parts are read from it). preset: a new
    model by name instead (`small_world`). encoders: a second file for the VAE and both towers, for
    pruned checkpoints. new_image_stream: give a text-to-video model a new query transformer, image
    cross-attention and concat input where it lacks them. tokenizer: a folder with CLIP's
    `vocab.json` and `merges.txt`; empty = the demo model's own words. variant: what to train it
    as; "auto" = what the file says.
    """

    checkpoint: PathName = ""
    preset: str = ""
    encoders: PathName = ""
    new_image_stream: bool = False
    tokenizer: PathName = ""
    variant: VariantName = AUTO

    @model_validator(mode="after")
    def _one_start(self) -> "ModelConfig":
        if bool(self.checkpoint) == bool(self.preset):
            raise ValueError("model needs either `checkpoint` or `preset`, one of the two")
        return self


class DataConfig(Section):
    """The clips. kind: how `path` is to be read. frame_strides: drawn uniformly, both inclusive.

    pool: clips of the small world.
    windows: of each video only so many stretches are ever cut, 0 = a new one each time. cache: keep
    what the encoders made in memory. cache_folder: keep it in files there, for the next runs too.
    """

    kind: Literal["folder", "table", "shards", "small_world"] = "folder"
    path: PathName = ""
    size: tuple[Side, Side] = (320, 512)
    num_frames: Count = 16
    frame_strides: Annotated[tuple[Count, Count], AfterValidator(_ordered)] = (1, 6)
    pool: Count = 2000
    windows: CountOrNone = 0
    workers: CountOrNone = 0
    cache: bool = False
    cache_folder: PathName = ""

    @model_validator(mode="after")
    def _cache_meets_its_clips_again(self) -> "DataConfig":
        if (self.cache or self.cache_folder) and not (self.windows or self.kind == "small_world"):
            raise ValueError(
                "a cache of stretches that never come again only grows; set data.windows, as to 4 "
                "a video, or turn data.cache and data.cache_folder off"
            )
        return self


class ConditioningConfig(Section):
    """Conditions. drop_probability: p of the published rule (text alone, both, image alone).

    concat: weight of each concat mode. cil_noise: conditional image leakage's TimeNoise.
    motion_captions: share of samples whose caption is cut to its motion words (dynamic wording).
    """

    # Three cases share it.
    drop_probability: Annotated[float, Field(ge=0, le=1 / 3)] = 0.05
    concat: Annotated[dict[ConcatMode, Amount], AfterValidator(_drawable)] = {"random": 1.0}
    cil_noise: bool = False
    motion_captions: Share = 0.0


class OptimizerConfig(Section):
    """AdamW and its rate. decay: "cosine" falls to a twentieth over the second half of the run."""

    rate: Positive = 1e-5
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    weight_decay: Amount = 0.01
    warmup_steps: CountOrNone = 0
    decay: Literal["constant", "cosine"] = "constant"
    clip_norm: Amount = 0.5
    timesteps: TimestepSampling = "uniform"


class RunConfig(Section):
    """The run. batch_size: per process and micro-batch. time_limit: minutes, 0 = none.

    save_every, sample_every: steps, 0 = never on the way. ema_decay: 0 = no averaged weights.
    """

    steps: Count = 1000
    batch_size: Count = 1
    accumulate: Count = 1
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    gradient_checkpointing: bool = False
    ema_decay: BelowOne = 0.999
    seed: Seed = 0
    log_every: Count = 10
    save_every: CountOrNone = 500
    sample_every: CountOrNone = 0
    time_limit: Amount = 0.0
    dropout: BelowOne = 0.1


class LoraConfig(Section):
    """Low-rank adapters for the stage `lora`. targets: endings of layer names."""

    rank: Count = 16
    alpha: Positive = 16.0
    targets: Annotated[tuple[NonEmpty, ...], Field(min_length=1)] = (
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
    )


class TrainConfig(Section):
    """One stage of training. output: the folder for all that the run writes."""

    stage: StageName
    output: Annotated[PathName, Field(min_length=1)]
    model: ModelConfig
    data: DataConfig = DataConfig()
    conditioning: ConditioningConfig = ConditioningConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    run: RunConfig = RunConfig()
    lora: LoraConfig = LoraConfig()


def load_config(path: Path, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a YAML file; `overrides` are dotted keys (`run.steps`). Raises ConfigError."""
    from .yaml12 import read_yaml

    try:
        loaded = read_yaml(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"The configuration {shown(path)} cannot be read: {error.strerror}."
        ) from None
    except ValueError as error:  # UnicodeDecodeError is one, too.
        raise ConfigError(f"{shown(path)} is not YAML: {shown(error)}.") from None
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"{shown(path)} holds no mapping; write it as the examples in training/configs."
        )
    for dotted, value in (overrides or {}).items():
        _override(loaded, dotted, value)
    return read_config(loaded)


def _override(values: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    target: Any = values
    for depth, parent in enumerate(parents, 1):
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            section = ".".join(parents[:depth])
            raise ConfigError(f"{dotted} cannot be set: {section} is a value, not a section.")
    target[last] = value


def read_config(values: Mapping[str, Any]) -> TrainConfig:
    """The checked configuration. Raises ConfigError with a line for each fault."""
    try:
        # As JSON, a list serves for a tuple, and nothing else is bent.
        return TrainConfig.model_validate_json(config_json(values))
    except ValidationError as error:
        faults = [_sentence(fault) for fault in error.errors(include_url=False)]
        raise ConfigError("\n".join(dict.fromkeys(faults))) from None


def config_json(values: Mapping[str, Any]) -> str:
    """What YAML gave, as JSON. Raises ConfigError for what JSON cannot say."""
    try:
        return json.dumps(values, default=str)
    # Anchors that hold themselves; keys that are dates or bytes; numbers of 5000 digits.
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"The configuration cannot be used: {shown(error)}. Write keys as plain words, and "
            "values without anchors that hold themselves."
        ) from None


def _sentence(fault: Any) -> str:
    where = ".".join(str(p) for p in fault["loc"] if p != "[key]") or "The configuration"
    found = f"{where} is {shown(repr(fault['input']))}"
    reason = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return _unknown(fault["loc"])
    if fault["type"] == "missing":
        return f"{where} is missing; add it, as in the examples of training/configs."
    if fault["type"] == "literal_error":
        return f"{found}; choose one of {fault['ctx']['expected'].replace(' or ', ', ')}."
    about_keys = len(fault["loc"]) == 1 and isinstance(fault["input"], dict)
    if fault["type"] == "value_error" and about_keys:
        return f"{reason[0].upper()}{reason[1:]}."
    return f"{found}; {reason.replace('Input should', 'it should')}."


def _unknown(place: tuple[str | int, ...]) -> str:
    section: Any = TrainConfig
    for part in place[:-1]:
        section = section.model_fields[str(part)].annotation
    known, name = sorted(section.model_fields), str(place[-1])
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}? Known" if near else "known"
    dotted = shown(".".join(map(str, place)))
    return f"Unknown key {dotted}; {hint} here are {', '.join(known)}."
