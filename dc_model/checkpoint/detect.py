"""What a checkpoint is: its U-Net's dimensions and its variant. Other families: `foreign`.

Works on keys, shapes and two small schedule buffers, so it can run on a header before any tensor is
read. Facts about each relative: `variants`. Source: docs/method.md#recognising-a-model.
"""

import json
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

from ..shown import shown
from ..variants import INIT_ATTENTION_HEADS, VARIANTS, Evidence, Shapes, UNetArch
from .errors import CheckpointError

METADATA_KEY = "dynamicrafter"
# Of a U-Net's encoder, levels times blocks times depth; published: 8.
MAX_BLOCKS = 256


class Detection(NamedTuple):
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
    except (LookupError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"The U-Net's tensors do not have DynamiCrafter's layout ({shown(error)}); choose "
            "a DynamiCrafter, ToonCrafter, ViewCrafter or VideoCrafter checkpoint."
        ) from error


def _unet_arch(shapes: Shapes, head_dim: int | None) -> UNetArch:
    shown_by = Evidence(shapes)
    channels, in_channels = shapes["input_blocks.0.0.weight"][:2]
    widths, attends = encoder_levels(shapes)
    text_key = ".1.transformer_blocks.0.attn2.to_k.weight"
    context = shapes[next((key for key in shapes if key.endswith(text_key)), text_key)][1]
    depth = len(set(re.findall(r"\.transformer_blocks\.([^.\n]*)", "\n".join(shapes))))
    if len(widths) * len(widths[0]) * depth > MAX_BLOCKS:
        raise ValueError(f"its encoder has more than {MAX_BLOCKS} transformer blocks")
    tables = [k for k in shapes if k.endswith("relative_position_k.embeddings_table")]
    init = shapes.get("init_attn.0.proj_in.weight")
    if head_dim is None:
        head_dim = init[0] // INIT_ATTENTION_HEADS if init else 64
    require_heads(widths, attends, head_dim)
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
        image_cross_attention=shown_by.image_attention,
        learnable_image_scale=shown_by.learnable_image_scale,
        speed_condition=shown_by.speed_condition,
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
    if len(widths) * len(widths[0]) > MAX_BLOCKS:
        raise ValueError(f"its encoder has more than {MAX_BLOCKS} blocks")
    return widths, tuple(attends)


def count_heads(width: int, head_dim: int) -> int:
    """How many heads of `head_dim` make `width`; ValueError unless they do."""
    if head_dim < 1 or width < 1 or width % head_dim:
        raise ValueError(f"its width of {width} is not made of heads of {head_dim}")
    return width // head_dim


def require_heads(widths: Sequence[Sequence[int]], attends: Sequence[bool], head_dim: int) -> None:
    """ValueError unless all levels that attend, and the middle block, are made of whole heads."""
    for level, attended in zip(widths, attends, strict=True):
        if attended:
            count_heads(level[0], head_dim)
    count_heads(widths[-1][-1], head_dim)


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
    return {key: value for key, value in stated.items() if value is not None}


def _wrong_metadata(what: str) -> CheckpointError:
    return CheckpointError(
        f"The file's `{METADATA_KEY}` metadata {what}: mend it, or convert the file again."
    )


class HeadDims(NamedTuple):
    """Widths of one attention head by part; shapes alone do not say."""

    unet: int | None = None  # None: as its first temporal transformer says
    projector: int = 64
    text_encoder: int = 64
    image_encoder: int = 80


def head_dims(stated: Mapping[str, Any]) -> HeadDims:
    """Published head widths, or those that the metadata's `head_dim` object states.

    Raises CheckpointError unless that is an object of positive numbers by known parts.
    """
    given = stated.get("head_dim", {})
    known = set(HeadDims._fields)
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
    proven = next((n for n in reversed(VARIANTS) if VARIANTS[n].proven_by(evidence)), None)
    alike = tuple(name for name, v in VARIANTS.items() if proven and v.built_like == proven)
    named, name = _named_variant(file_name, (proven, *alike) if alike else VARIANTS)
    place = "file" if file_name.endswith(name) else "folder"
    by_name = f"variant {named}, by the {place}'s name ({shown(name)})"
    if named is not None and alike:
        return Detection(named, by_name)
    if proven is not None:
        others = f"{', '.join(alike)} are built alike and {shown(file_name)} names none of them"
        return Detection(proven, f"variant {proven}, since {others}" if alike else None)
    if named is not None and evidence.in_channels == VARIANTS[named].in_channels:
        return Detection(named, by_name)
    raise CheckpointError(
        "Neither the file (metadata, schedule buffers, keys) nor its name or folders say which "
        f"variant it is; set `variant` to one of {_choices()}."
    )


def check_channels(variant: str, evidence: Evidence, origin: str) -> None:
    """Raise CheckpointError when a U-Net has other inputs than `variant`, of this origin."""
    expected = VARIANTS[variant].in_channels
    if evidence.unet and evidence.in_channels != expected:
        raise CheckpointError(
            f"The U-Net has {evidence.in_channels} input channels, but {shown(variant)} has "
            f"{expected} ({origin}); set `variant` to one that has {evidence.in_channels}."
        )


def _named_variant(path: str, allowed: Container[str | None]) -> tuple[str | None, str]:
    """The variant that a file's name or else its nearest folder says, and that name.

    Of several hints in a name the longest counts: "cil-512" says more than "512".
    """
    hints = {hint: name for name, variant in VARIANTS.items() for hint in variant.name_hints}
    for name in reversed(path.replace("\\", "/").split("/")):
        found = max((hint for hint in hints if hint in name.lower()), key=len, default="")
        if hints.get(found) in allowed:
            return hints.get(found), name
    return None, ""


def _choices() -> str:
    return ", ".join(VARIANTS)
