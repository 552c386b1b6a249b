"""The family: what tensor shapes prove (`UNetArch`) and what they cannot (`Variant`).

A new relative is one entry of `VARIANTS`. Source: docs/method.md#published-settings.
"""

from dataclasses import dataclass, replace
from typing import Literal

# Tokens that the query transformer makes for each frame.
QUERIES_PER_FRAME = 16

Parameterization = Literal["v", "eps"]
Spacing = Literal["uniform", "uniform_trailing"]
FinalScale = Literal["last", "none"]
SpeedUnit = Literal["fps", "frame_stride"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetArch:
    """Dimensions of a U-Net, all but `dropout` readable from a checkpoint's keys and shapes."""

    in_channels: int = 8  # 4 noise + 4 visual detail guidance; text to video: 4
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    head_dim: int = 64
    transformer_depth: int = 1
    context_dim: int = 1024
    temporal_conv: bool = True
    relative_position: bool = False
    temporal_length: int = 16  # the table's reach with `relative_position`
    init_attention: bool = True
    image_cross_attention: bool = True
    learnable_image_scale: bool = False  # 256: one `alpha` per layer
    speed_condition: bool = True
    dropout: float = 0.1  # training only


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """How a checkpoint is to be sampled, where its tensors do not tell.

    size: native (height, width) in pixels. num_frames: native length. base_scale: floor of the
    dynamic rescale, None = off. speeds: default of the speed input, by mode ("animate" stands for
    every mode not named). guidance_rescale: the published default.
    """

    size: tuple[int, int]
    num_frames: int = 16
    parameterization: Parameterization = "v"
    zero_terminal_snr: bool = True
    base_scale: float | None = 0.7
    final_scale: FinalScale = "last"
    spacing: Spacing = "uniform_trailing"
    guidance_rescale: float = 0.7
    speed_unit: SpeedUnit = "fps"
    speed: int = 24
    dual_reference_speed: int = 5  # interpolate, loop and keyframes

    def default_speed(self, mode: str) -> int:
        """The published speed of `mode`, in `speed_unit`."""
        between = mode in ("interpolate", "loop", "keyframes") and self.speed_unit == "fps"
        return self.dual_reference_speed if between else self.speed


_512 = Variant(size=(320, 512))
_1024 = replace(_512, size=(576, 1024), base_scale=0.3, speed=10)
_VIDEOCRAFTER = Variant(
    size=(320, 512),
    parameterization="eps",
    zero_terminal_snr=False,
    base_scale=0.7,
    final_scale="none",
    spacing="uniform",
    guidance_rescale=0.0,
    speed=16,
    dual_reference_speed=16,
)

VARIANTS: dict[str, Variant] = {
    "256": replace(
        _512,
        size=(256, 256),
        parameterization="eps",
        zero_terminal_snr=False,
        base_scale=None,
        spacing="uniform",
        guidance_rescale=0.0,
        speed_unit="frame_stride",
        speed=3,
    ),
    "512": _512,
    "1024": _1024,
    "512_interp": replace(_512, speed=5),
    "cil_512": _512,
    "cil_1024": replace(_1024, speed=24),
    "toon_512": replace(_512, speed=10, dual_reference_speed=10),
    "viewcrafter_16": _1024,
    "viewcrafter_25": replace(_1024, num_frames=25),
    "videocrafter1_512": replace(_VIDEOCRAFTER, base_scale=None),
    "videocrafter1_1024": replace(_VIDEOCRAFTER, size=(576, 1024), base_scale=0.3),
    "videocrafter1_i2v": _VIDEOCRAFTER,
    "videocrafter2": _VIDEOCRAFTER,
}
