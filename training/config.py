"""A stage's configuration: typed, validated, read from YAML; unknown keys are refused."""

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .conditioning import ConcatMode
from .objective import TimestepSampling
from .stages import StageName


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Where the weights come from.

    checkpoint: a full checkpoint of this family (all five parts are read from it). preset: a new
    model by name instead (`small_world`). encoders: a second file for the VAE and both towers, for
    pruned checkpoints. new_image_stream: give a text-to-video model a new query transformer, image
    cross-attention and concat input where it lacks them. tokenizer: a folder with CLIP's
    `vocab.json` and `merges.txt`; empty = the small world's own words.
    """

    checkpoint: str = ""
    preset: str = ""
    encoders: str = ""
    new_image_stream: bool = False
    tokenizer: str = ""
    variant: str = "512"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """The clips. kind: how `path` is to be read. frame_strides: drawn uniformly, both inclusive.

    pool: clips of the small world. second_tier: the share of them that shows its second tier.
    windows: of each video only so many stretches are ever cut, 0 = a new one each time. cache: keep
    what the encoders made in memory. cache_folder: keep it in files there, for the next runs too.
    """

    kind: Literal["folder", "table", "shards", "small_world"] = "folder"
    path: str = ""
    size: tuple[int, int] = (320, 512)
    num_frames: int = 16
    frame_strides: tuple[int, int] = (1, 6)
    pool: int = 2000
    second_tier: float = 0.0
    windows: int = 0
    workers: int = 0
    cache: bool = False
    cache_folder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditioningConfig:
    """Conditions. drop_probability: p of the published rule (text alone, both, image alone).

    concat: weight of each concat mode. cil_noise: conditional image leakage's TimeNoise.
    motion_captions: share of samples whose caption is cut to its motion words (DCP).
    """

    drop_probability: float = 0.05
    concat: dict[ConcatMode, float] = field(default_factory=lambda: {"random": 1.0})
    cil_noise: bool = False
    motion_captions: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """AdamW and its rate. decay: "cosine" falls to a twentieth over the second half of the run."""

    rate: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    warmup_steps: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    clip_norm: float = 0.5
    timesteps: TimestepSampling = "uniform"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The run. batch_size: per process and micro-batch. time_limit: minutes, 0 = none."""

    steps: int = 1000
    batch_size: int = 1
    accumulate: int = 1
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    gradient_checkpointing: bool = False
    ema_decay: float = 0.999
    seed: int = 0
    log_every: int = 10
    save_every: int = 500
    sample_every: int = 0
    time_limit: float = 0.0
    dropout: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters for the stage `lora`. targets: endings of layer names."""

    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One stage of training."""

    stage: StageName
    output: str
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    conditioning: ConditioningConfig = field(default_factory=ConditioningConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)

    def __post_init__(self) -> None:
        if bool(self.model.checkpoint) == bool(self.model.preset):
            raise ConfigError("model needs either `checkpoint` or `preset`, one of the two.")
        for name, value in (
            ("run.steps", self.run.steps),
            ("run.batch_size", self.run.batch_size),
            ("run.accumulate", self.run.accumulate),
            ("data.num_frames", self.data.num_frames),
            ("optimizer.rate", self.optimizer.rate),
        ):
            if value <= 0:
                raise ConfigError(f"{name} is {value}; it must be positive.")
        for name, value in (
            ("data.second_tier", self.data.second_tier),
            ("conditioning.motion_captions", self.conditioning.motion_captions),
        ):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value}; it is a share, so choose 0 to 1.")
        caches = self.data.cache or self.data.cache_folder
        if caches and not self.data.windows and self.data.kind != "small_world":
            raise ConfigError(
                "A cache of stretches that never come again only grows; set data.windows, as to 4 "
                "a video, or turn data.cache and data.cache_folder off."
            )
        if not 0 <= self.conditioning.drop_probability <= 1 / 3:
            raise ConfigError(
                f"conditioning.drop_probability is {self.conditioning.drop_probability}; three "
                "cases share it, so choose 0 to 1/3."
            )


def load_config(path: Path, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a YAML file; `overrides` are dotted keys (`run.steps`). Raises ConfigError."""
    import yaml

    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} holds no mapping; see training/configs for examples.")
    for dotted, value in (overrides or {}).items():
        *parents, last = dotted.split(".")
        target = loaded
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    return build(TrainConfig, loaded, "")


def build(kind: Any, value: Any, where: str) -> Any:
    """`value` as `kind`: a dataclass, a literal, a tuple, a dict or a plain type.

    Raises ConfigError that names the dotted key `where`.
    """
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(
                f"{where} is {value!r}; choose one of {', '.join(map(str, arguments))}."
            )
        return value
    if origin is tuple:
        return _build_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} is {value!r}; expected a mapping.")
        return {
            build(arguments[0], k, where): build(arguments[1], v, f"{where}.{k}")
            for k, v in value.items()
        }
    if origin in (Union, types.UnionType):
        raise ConfigError(f"{where} has an unsupported type {kind}.")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ConfigError(f"{where} is {value!r}; expected {kind.__name__}.")
    return value


def _build_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where} is {value!r}; expected a list.")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(build(arguments[0], v, where) for v in value)
    if len(value) != len(arguments):
        raise ConfigError(f"{where} has {len(value)} entries; expected {len(arguments)}.")
    return tuple(build(a, v, where) for a, v in zip(arguments, value, strict=True))


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{where or 'The configuration'} is {value!r}; expected a mapping.")
    hints = get_type_hints(kind)
    names = {f.name for f in dataclasses.fields(kind)}
    prefix = f"{where}." if where else ""
    unknown = sorted(set(map(str, value)) - names)
    if unknown:
        raise ConfigError(
            f"Unknown key {prefix}{unknown[0]}; known here are {', '.join(sorted(names))}."
        )
    try:
        return kind(**{k: build(hints[k], v, f"{prefix}{k}") for k, v in value.items()})
    except TypeError as error:
        raise ConfigError(f"{where or 'The configuration'}: {error}.") from None
