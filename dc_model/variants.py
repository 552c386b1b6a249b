"""The family: what tensor shapes prove (`UNetArch`), and all facts of a relative (`Variant`).

A new relative is one entry of `VARIANTS`. Source: docs/method.md#published-settings,
docs/method.md#recognising-a-model.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from .frames import QUERIES_PER_FRAME

Shapes = Mapping[str, tuple[int, ...]]

# The published code gives `init_attn` 8 heads whatever its width.
INIT_ATTENTION_HEADS = 8
# Of one part of a checkpoint, a safeguard against damaged files; published: 32 at most.
MAX_LAYERS = 64

Parameterization = Literal["v", "eps"]
Spacing = Literal["uniform", "uniform_trailing"]
FinalScale = Literal["last", "none"]
SpeedUnit = Literal["fps", "frame_stride"]


class UNetArch(NamedTuple):
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

    @property
    def takes_image(self) -> bool:
        """Whether visual detail guidance joins the noise (`vdg.join`)."""
        return self.in_channels > self.out_channels


class Evidence(NamedTuple):
    """What a checkpoint shows, keys in this model's spelling and without any wrapper prefix.

    unet: the U-Net's key -> shape, prefix removed. other_keys: all other keys.
    projector_latents: learned queries of the query transformer. base_scale: last entry of
    `scale_arr` where stored. The properties say which parts the keys show; `in_channels` raises
    KeyError without a U-Net.
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
        return has_dual_reference(self.other_keys)

    @property
    def speed_condition(self) -> bool:
        return "fps_embedding.0.weight" in self.unet

    def scale_is(self, value: float) -> bool:
        """Whether the stored `base_scale` is this one, up to 0.01."""
        # 0.3 and 0.7 are the only published ones; half-precision files round them.
        return self.base_scale is not None and abs(self.base_scale - value) < 0.01


def has_dual_reference(keys: Iterable[str]) -> bool:
    """Whether a VAE's keys, with or without prefix, are those of ToonCrafter's."""
    return any("decoder.attn_refinement." in key for key in keys)


class Variant(NamedTuple):
    """One relative: how its files are recognised and how it is sampled.

    size: native (height, width) in pixels. num_frames: native length. base_scale: floor of the
    dynamic rescale, None = off. guidance_rescale, speed, interpolation_speed: the published
    defaults, speeds in `speed_unit`; speed_range: the published range, or ours where none is
    published. init_variance: of clean latents, for Analytic-Init without a file.

    proves: whether a file with this many input channels is certainly this relative. name_hints:
    what its files are called, in lower case. built_like: the relative whose U-Net and schedule are
    the same, so names have to decide.
    """

    size: tuple[int, int]
    in_channels: int = 8
    num_frames: int = 16
    parameterization: Parameterization = "v"
    zero_terminal_snr: bool = True
    base_scale: float | None = 0.7
    final_scale: FinalScale = "last"
    spacing: Spacing = "uniform_trailing"
    guidance_rescale: float = 0.7
    speed_unit: SpeedUnit = "fps"
    speed: int = 24
    interpolation_speed: int = 5
    speed_range: tuple[int, int] = (15, 30)
    init_variance: float = 0.8080
    proves: Callable[[Evidence], bool] = lambda _: False
    name_hints: tuple[str, ...] = ()
    built_like: str | None = None

    def proven_by(self, evidence: Evidence) -> bool:
        """Whether a file is certainly this relative."""
        return evidence.in_channels == self.in_channels and self.proves(evidence)

    def default_speed(self, mode: str) -> int:
        """The published speed of `mode`, in `speed_unit`."""
        between = mode in ("interpolate", "loop", "keyframes") and self.speed_unit == "fps"
        return self.interpolation_speed if between else self.speed


_512 = Variant(size=(320, 512))
_1024 = _512._replace(
    size=(576, 1024), base_scale=0.3, speed=10, speed_range=(5, 15), init_variance=0.3031
)
_VIDEOCRAFTER = Variant(
    size=(320, 512),
    in_channels=4,
    parameterization="eps",
    zero_terminal_snr=False,
    base_scale=0.7,
    final_scale="none",
    spacing="uniform",
    guidance_rescale=0.0,
    speed=16,
    interpolation_speed=16,
    speed_range=(8, 28),
)

# Where a file proves several, the last one counts: special relatives come after general ones.
VARIANTS: dict[str, Variant] = {
    "256": _512._replace(
        size=(256, 256),
        parameterization="eps",
        zero_terminal_snr=False,
        base_scale=None,
        spacing="uniform",
        guidance_rescale=0.0,
        speed_unit="frame_stride",
        speed=3,
        speed_range=(1, 6),
        proves=lambda e: e.learnable_image_scale,
    ),
    "512": _512._replace(
        proves=lambda e: e.scale_is(0.7) and not e.learnable_image_scale,
        name_hints=("512",),
    ),
    "1024": _1024._replace(
        proves=lambda e: e.scale_is(0.3) and not e.learnable_image_scale,
        name_hints=("1024",),
    ),
    "512_interp": _512._replace(
        speed=5, speed_range=(5, 30), name_hints=("interp",), built_like="512"
    ),
    "cil_512": _512._replace(name_hints=("cil-512", "cil_512"), built_like="512"),
    "cil_1024": _1024._replace(
        speed=24,
        speed_range=(5, 30),
        name_hints=("cil-1024", "cil_1024"),
        built_like="1024",
    ),
    "toon_512": _512._replace(
        speed=10,
        interpolation_speed=10,
        speed_range=(5, 30),
        proves=lambda e: e.dual_reference,
        name_hints=("tooncrafter",),
        built_like="512",
    ),
    "viewcrafter_16": _1024._replace(name_hints=("viewcrafter",), built_like="1024"),
    "viewcrafter_25": _1024._replace(
        num_frames=25,
        proves=lambda e: e.projector_latents == 25 * QUERIES_PER_FRAME,
        name_hints=("viewcrafter_25", "viewcrafter25"),
    ),
    "videocrafter1_512": _VIDEOCRAFTER._replace(
        base_scale=None, proves=lambda e: e.relative_position
    ),
    "videocrafter1_1024": _VIDEOCRAFTER._replace(
        size=(576, 1024),
        base_scale=0.3,
        init_variance=0.3031,
        proves=lambda e: e.relative_position and e.speed_condition,
    ),
    "videocrafter1_i2v": _VIDEOCRAFTER._replace(proves=lambda e: e.image_attention),
    "videocrafter2": _VIDEOCRAFTER._replace(
        proves=lambda e: e.speed_condition and not (e.relative_position or e.image_attention),
    ),
}
