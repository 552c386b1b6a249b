"""The stages of the recipe: which parameters each of them trains, and on what.

(i) `projector`: the query transformer P and the image cross-attention that reads it, on a frozen
    text-to-image model (temporal layers bypassed, one frame);
(ii) `adapt`: P and the spatial layers of the text-to-video model;
(iii) `joint`: the same with visual detail guidance.
Beside them: `full` (the published fine-tune: the whole U-Net and P), `text_to_image`,
`text_to_video` (bases for the stages), `low_quality_video` then `high_quality_images`
(VideoCrafter2's scheme), `lora`. Source: docs/method.md#training.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from dc_model.unet.blocks import TemporalConv
from dc_model.unet.transformers import TemporalTransformer

StageName = Literal[
    "text_to_image",
    "text_to_video",
    "projector",
    "adapt",
    "joint",
    "full",
    "low_quality_video",
    "high_quality_images",
    "lora",
]

UNetPart = Literal["none", "image_attention", "spatial", "temporal", "all"]

IMAGE_ATTENTION_KEYS = (".to_k_ip.", ".to_v_ip.", ".alpha")


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage trains and sees.

    images_only: single frames, temporal layers bypassed. image_tokens: the context stream is on.
    concat: visual detail guidance is on.
    """

    unet: UNetPart
    projector: bool
    images_only: bool = False
    image_tokens: bool = True
    concat: bool = False


STAGES: dict[StageName, Stage] = {
    "text_to_image": Stage("spatial", projector=False, images_only=True, image_tokens=False),
    "text_to_video": Stage("all", projector=False, image_tokens=False),
    "projector": Stage("image_attention", projector=True, images_only=True),
    "adapt": Stage("spatial", projector=True),
    "joint": Stage("spatial", projector=True, concat=True),
    "full": Stage("all", projector=True, concat=True),
    "low_quality_video": Stage("all", projector=False, image_tokens=False),
    "high_quality_images": Stage("spatial", projector=False, images_only=True, image_tokens=False),
    "lora": Stage("none", projector=False, concat=True),
}


def temporal_modules(unet: nn.Module) -> dict[str, nn.Module]:
    """Every temporal layer by name: transformers along time, `init_attn`, temporal convolutions."""
    return {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, TemporalTransformer | TemporalConv)
    }


def part_of(name: str, temporal: tuple[str, ...]) -> UNetPart:
    """The part of the U-Net that the parameter `name` belongs to."""
    if name.startswith(temporal):
        return "temporal"
    if any(key in f".{name}." for key in IMAGE_ATTENTION_KEYS):
        return "image_attention"
    return "spatial"


def select_parameters(unet: nn.Module, projector: nn.Module | None, stage: Stage) -> list[str]:
    """Set `requires_grad` as the stage wants it; returns the names of what trains.

    Without image tokens their cross-attention stays out even where all other layers train.
    """
    temporal = tuple(f"{name}." for name in temporal_modules(unet))
    wanted: dict[UNetPart, set[UNetPart]] = {
        "none": set(),
        "image_attention": {"image_attention"},
        "spatial": {"spatial", "image_attention"},
        "temporal": {"temporal"},
        "all": {"spatial", "image_attention", "temporal"},
    }
    parts = wanted[stage.unet] - (set() if stage.image_tokens else {"image_attention"})
    chosen = []
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(part_of(name, temporal) in parts)
        if parameter.requires_grad:
            chosen.append(f"unet.{name}")
    if projector is not None:
        projector.requires_grad_(stage.projector)
        if stage.projector:
            chosen += [f"projector.{name}" for name, _ in projector.named_parameters()]
    return chosen


def _pass_through(_module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> Any:
    return inputs[0]


@contextmanager
def bypass_temporal(unet: nn.Module, active: bool = True) -> Iterator[None]:
    """Within it the video model is its text-to-image model: temporal layers return their input."""
    handles = []
    if active:
        layers = temporal_modules(unet).values()
        handles = [layer.register_forward_hook(_pass_through) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
