"""What a checkpoint file is: its parts, and the variant, schedule and head widths they need."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .checkpoint.detect import (
    HeadDims,
    check_channels,
    detect_variant,
    head_dims,
    read_metadata,
)
from .checkpoint.errors import CheckpointError
from .checkpoint.inspect import FileContent
from .checkpoint.layout import CheckpointParts, split_checkpoint, stated_variant
from .sampling.schedule import NoiseSchedule, schedule_of
from .shown import shown
from .variants import VARIANTS, Variant


class Identified(NamedTuple):
    """A checkpoint's parts and what is known of them.

    variant: a name of `VARIANTS`. notes: sentences for the log, on what had to be assumed.
    """

    parts: CheckpointParts
    variant: str
    schedule: NoiseSchedule
    heads: HeadDims
    notes: tuple[str, ...] = ()


def identify(content: FileContent, choice: str, place: str) -> Identified:
    """Splits a file into its parts and finds out what they are.

    choice: the user's variant; "auto" reads it from the file. place: the file's path as far as its
    folders are the user's, whose names may decide. Raises CheckpointError when nothing decides, or
    when the file contradicts itself or the choice.
    """
    if choice != "auto" and choice not in VARIANTS:
        raise CheckpointError(
            f"variant is {shown(choice)}; choose auto or one of {', '.join(VARIANTS)}."
        )
    parts = split_checkpoint(content.tensors)
    stated = statement(content, parts)
    variant, assumed = _variant(parts, stated, choice, place)
    schedule, replaced = _schedule(parts, VARIANTS[variant], by_file=choice == "auto")
    notes = tuple(filter(None, (assumed, replaced)))
    return Identified(parts, variant, schedule, head_dims(stated), notes)


def statement(content: FileContent, parts: CheckpointParts) -> dict[str, Any]:
    """What a file says of itself: its metadata, and the variant by the tensor of ComfyUI's savers.

    Raises CheckpointError for metadata that cannot be read.
    """
    stated = read_metadata(content.metadata)
    marker = stated_variant(parts.buffers)
    if marker in VARIANTS:
        stated.setdefault("variant", marker)
    return stated


def _variant(
    parts: CheckpointParts, stated: Mapping[str, Any], choice: str, place: str
) -> tuple[str, str]:
    evidence = parts.evidence()
    if choice != "auto":
        check_channels(choice, evidence, "the chosen variant")
        return choice, ""
    found = detect_variant(evidence, stated, place)
    if found.assumption is None:
        return found.variant, ""
    return found.variant, f"assumed {found.assumption}; set `variant` if that is wrong."


def _schedule(
    parts: CheckpointParts, variant: Variant, *, by_file: bool
) -> tuple[NoiseSchedule, str]:
    """The file's own schedule where it has one, as at the model's training.

    A variant that the user chose (not `by_file`) brings its own where the file's differs.
    """
    alphas, scale = parts.buffers.get("alphas_cumprod"), parts.buffers.get("scale_arr")
    own = schedule_of(variant)
    if alphas is None:
        return own, ""
    try:
        files = NoiseSchedule.from_buffers(
            alphas, scale, variant.parameterization, variant.final_scale
        )
    except ValueError as error:
        raise CheckpointError(
            "The file's noise schedule cannot be used; download the file again, or choose another. "
            f"{shown(error, 300)}"
        ) from error
    same_end = bool((files.alphas_cumprod[-1] == 0) == (own.alphas_cumprod[-1] == 0))
    same_scale = abs(float(files.scale[-1]) - float(own.scale[-1])) < 0.01
    if by_file or (same_end and same_scale):
        return files, ""
    return own, "the chosen variant's noise schedule replaces the file's, which differs."
