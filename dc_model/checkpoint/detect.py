"""What a checkpoint is: its U-Net's dimensions, its variant, or the foreign family it belongs to.

Works on keys, shapes and two small schedule buffers, so it can run on a header before any tensor is
read. Detection is data: a new relative is one `Signature`. Source:
docs/method.md#recognising-a-model.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..shown import shown
from ..variants import VARIANTS, UNetArch

Shapes = Mapping[str, tuple[int, ...]]

METADATA_KEY = "dynamicrafter"
INIT_ATTENTION_HEADS = 8
# Of a U-Net's encoder, levels times blocks times depth; published: 8.
MOST_BLOCKS = 256


class CheckpointError(ValueError):
    """A file that is not what it should be; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What detection looks at, keys in this model's spelling and without any wrapper prefix.

    unet: the U-Net's key -> shape, prefix removed. other_keys: all other keys.
    base_scale: last entry of `scale_arr` where stored.
    """

    unet: Shapes
    other_keys: frozenset[str] = frozenset()
    projector_latents: int | None = None
    base_scale: float | None = None

    @property
    def in_channels(self) -> int:
        return self.unet["input_blocks.0.0.weight"][1]

    @property
    def image_attention(self) -> bool:
        return any(k.endswith("attn2.to_k_ip.weight") for k in self.unet)

    @property
    def learnable_image_scale(self) -> bool:
        return any(k.endswith("attn2.alpha") for k in self.unet)

    @property
    def relative_position(self) -> bool:
        return any(k.endswith("relative_position_k.embeddings_table") for k in self.unet)

    @property
    def dual_reference(self) -> bool:
        return any("decoder.attn_refinement" in k for k in self.other_keys)

    @property
    def speed_condition(self) -> bool:
        return "fps_embedding.0.weight" in self.unet

    def scale_is(self, value: float) -> bool:
        # 0.3 and 0.7 are the only published ones; half-precision files round them.
        return self.base_scale is not None and abs(self.base_scale - value) < 0.01


@dataclass(frozen=True, slots=True)
class Signature:
    """One variant and the evidence that proves it."""

    variant: str
    proves: Callable[[Evidence], bool]


# The first that holds wins, so the special come before the general.
SIGNATURES = (
    Signature("toon_512", lambda e: e.in_channels == 8 and e.dual_reference),
    Signature("256", lambda e: e.in_channels == 8 and e.learnable_image_scale),
    Signature("viewcrafter_25", lambda e: e.in_channels == 8 and e.projector_latents == 25 * 16),
    Signature("512", lambda e: e.in_channels == 8 and e.scale_is(0.7)),
    Signature("1024", lambda e: e.in_channels == 8 and e.scale_is(0.3)),
    Signature("videocrafter1_i2v", lambda e: e.in_channels == 4 and e.image_attention),
    Signature(
        "videocrafter1_1024",
        lambda e: e.in_channels == 4 and e.relative_position and e.speed_condition,
    ),
    Signature("videocrafter1_512", lambda e: e.in_channels == 4 and e.relative_position),
    Signature("videocrafter2", lambda e: e.in_channels == 4 and e.speed_condition),
)

# Parts of file names in the order they are looked for, for variants whose layouts are identical.
NAME_HINTS = (
    ("tooncrafter", "toon_512"),
    ("viewcrafter_25", "viewcrafter_25"),
    ("viewcrafter25", "viewcrafter_25"),
    ("viewcrafter", "viewcrafter_16"),
    ("cil-1024", "cil_1024"),
    ("cil_1024", "cil_1024"),
    ("cil-512", "cil_512"),
    ("cil_512", "cil_512"),
    ("interp", "512_interp"),
    ("1024", "1024"),
    ("512", "512"),
)

# Variants whose U-Nets share every shape and, within a row, the whole schedule: names decide. The
# first is assumed when the name tells nothing.
SAME_LAYOUT = (
    ("512", "512_interp", "cil_512", "toon_512"),
    ("1024", "cil_1024", "viewcrafter_16"),
)


@dataclass(frozen=True, slots=True)
class Detection:
    """A variant and, where the file's name had to decide, what was assumed."""

    variant: str
    assumption: str | None = None


def detect_unet_arch(shapes: Shapes, head_dim: int | None = None) -> UNetArch:
    """Dimensions of a U-Net from key -> shape, keys without prefix.

    head_dim: as stated by the file's metadata; else read from the first temporal transformer, which
    has 8 heads in every published model, else 64. Raises CheckpointError when the keys are not
    those of this family.
    """
    try:
        return _unet_arch(shapes, head_dim)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"The U-Net's tensors do not have DynamiCrafter's layout ({shown(error)}); choose "
            "a DynamiCrafter, ToonCrafter, ViewCrafter or VideoCrafter checkpoint."
        ) from error


def _unet_arch(shapes: Shapes, head_dim: int | None) -> UNetArch:
    channels, in_channels = shapes["input_blocks.0.0.weight"][:2]
    widths, attends = encoder_levels(shapes)
    context = shapes[_first(shapes, ".1.transformer_blocks.0.attn2.to_k.weight")][1]
    depth = len(
        {
            k.split(".transformer_blocks.")[1].split(".")[0]
            for k in shapes
            if ".transformer_blocks." in k
        }
    )
    if len(widths) * len(widths[0]) * depth > MOST_BLOCKS:
        raise ValueError(f"its encoder has more than {MOST_BLOCKS} transformer blocks")
    tables = [k for k in shapes if k.endswith("relative_position_k.embeddings_table")]
    init = shapes.get("init_attn.0.proj_in.weight")
    if head_dim is None:
        head_dim = init[0] // INIT_ATTENTION_HEADS if init else 64
    for level, attended in zip(widths, attends, strict=True):
        if attended:
            count_heads(level[0], head_dim)
    return UNetArch(
        in_channels=in_channels,
        out_channels=shapes["out.2.weight"][0],
        model_channels=channels,
        channel_mult=tuple(level[0] // channels for level in widths),
        num_res_blocks=len(widths[0]),
        attention_levels=attends,
        head_dim=head_dim,
        transformer_depth=depth,
        context_dim=context,
        temporal_conv=any(".temopral_conv." in k for k in shapes),
        relative_position=bool(tables),
        temporal_length=(shapes[tables[0]][0] - 1) // 2 if tables else 16,
        init_attention=init is not None,
        image_cross_attention=any(k.endswith("attn2.to_k_ip.weight") for k in shapes),
        learnable_image_scale=any(k.endswith("attn2.alpha") for k in shapes),
        speed_condition="fps_embedding.0.weight" in shapes,
    )


def encoder_levels(shapes: Shapes) -> tuple[list[list[int]], tuple[bool, ...]]:
    """Output widths of the encoder's residual blocks by level, and which levels attend.

    Raises KeyError or ValueError when the keys are not those of an SD-like U-Net.
    """
    widths: list[list[int]] = [[]]
    attends = [False]
    last = max(int(k.split(".")[1]) for k in shapes if k.startswith("input_blocks."))
    for i in range(1, last + 1):
        if f"input_blocks.{i}.0.op.weight" in shapes:
            widths.append([])
            attends.append(False)
            continue
        widths[-1].append(shapes[f"input_blocks.{i}.0.in_layers.2.weight"][0])
        attends[-1] |= f"input_blocks.{i}.1.norm.weight" in shapes
    if len(widths) * len(widths[0]) > MOST_BLOCKS:
        raise ValueError(f"its encoder has more than {MOST_BLOCKS} blocks")
    return widths, tuple(attends)


def count_heads(width: int, head_dim: int) -> int:
    """How many heads of `head_dim` make `width`; ValueError unless they do."""
    if head_dim < 1 or width < 1 or width % head_dim:
        raise ValueError(f"its width of {width} is not made of heads of {head_dim}")
    return width // head_dim


def _first(shapes: Shapes, ending: str) -> str:
    for key in shapes:
        if key.endswith(ending):
            return key
    raise KeyError(ending)


def read_metadata(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """The file's own statement (safetensors metadata key `dynamicrafter`, JSON), or {}.

    Raises CheckpointError when it is not a JSON object or names an unknown variant.
    """
    text = (metadata or {}).get(METADATA_KEY)
    if not text:
        return {}
    try:
        stated = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong_metadata(f"is not JSON ({shown(error)})") from None
    if not isinstance(stated, dict):
        raise _wrong_metadata("is not a JSON object")
    variant = stated.get("variant")
    if variant is not None and (not isinstance(variant, str) or variant not in VARIANTS):
        raise _wrong_metadata(f"names the variant {shown(variant)}; known are {_choices()}")
    return stated


def _wrong_metadata(what: str) -> CheckpointError:
    return CheckpointError(
        f"The file's `{METADATA_KEY}` metadata {what}: mend it, or convert the file again."
    )


@dataclass(frozen=True, slots=True)
class HeadDims:
    """Widths of one attention head by part; shapes alone do not say."""

    unet: int | None = None  # None: as its first temporal transformer says
    projector: int = 64
    text_encoder: int = 64
    image_encoder: int = 80


def head_dims(stated: Mapping[str, Any]) -> HeadDims:
    """Published head widths, or those that the metadata's `head_dim` object states.

    Raises CheckpointError when that is no object of positive numbers by known parts.
    """
    given = stated.get("head_dim", {})
    known = {field.name for field in fields(HeadDims)}
    fits = isinstance(given, dict) and set(given) <= known
    if not fits or not all(type(v) is int and 0 < v <= 1024 for v in given.values()):
        raise _wrong_metadata(
            f"has head_dim {shown(given)}; expected widths by part, of {', '.join(sorted(known))}"
        )
    return HeadDims(**given)


def detect_variant(evidence: Evidence, stated: Mapping[str, Any], file_name: str) -> Detection:
    """The variant by the file's metadata, its buffers, keys and shapes, then its name.

    file_name: the path below the model folder; a folder's name counts where nearer ones are silent.
    Raises CheckpointError with the choices when nothing decides, or when the metadata contradicts
    the U-Net.
    """
    if "variant" in stated:
        check_channels(stated["variant"], evidence, "which the file states")
        return Detection(stated["variant"])
    proven = next((s.variant for s in SIGNATURES if s.proves(evidence)), None)
    alike = next((row for row in SAME_LAYOUT if proven == row[0]), ())
    named, name = _named_variant(file_name, alike or tuple(VARIANTS))
    place = "file" if file_name.endswith(name) else "folder"
    by_name = f"variant {named}, by the {place}'s name ({shown(name)})"
    if named is not None and alike:
        return Detection(named, by_name)
    if proven is not None:
        others = f"{', '.join(alike[1:])} are built alike and {shown(file_name)} names none of them"
        return Detection(proven, f"variant {proven}, since {others}" if alike else None)
    if named is not None and evidence.in_channels == 8:
        return Detection(named, by_name)
    raise CheckpointError(
        "Neither the file (metadata, schedule buffers, keys) nor its name or folders say which "
        f"variant it is; set `variant` to one of {_choices()}."
    )


def check_channels(variant: str, evidence: Evidence, origin: str) -> None:
    """Raise CheckpointError when a U-Net has other inputs than `variant`, of this origin."""
    expected = 4 if variant.startswith("videocrafter") else 8
    if evidence.unet and evidence.in_channels != expected:
        raise CheckpointError(
            f"The U-Net has {evidence.in_channels} input channels, but {variant} has {expected} "
            f"({origin}); set `variant` to one that has {evidence.in_channels}."
        )


def _named_variant(path: str, allowed: tuple[str, ...]) -> tuple[str | None, str]:
    """The variant that a file's name or else its nearest folder says, and that name."""
    for name in reversed(path.replace("\\", "/").split("/")):
        hint = next((variant for part, variant in NAME_HINTS if part in name.lower()), None)
        if hint in allowed:
            return hint, name
    return None, ""


def _choices() -> str:
    return ", ".join(VARIANTS)
