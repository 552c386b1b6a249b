"""Wire types of our own, and widgets that several nodes show, each with one range and default."""

from typing import NamedTuple

from comfy_api.latest import io
from torch import Tensor

CATEGORY = "DynamiCrafter"
# A patcher around the query transformer.
Projector = io.Custom("DC_PROJECTOR")
# A tuple of `Keyframe`.
Keyframes = io.Custom("DC_KEYFRAMES")
# A tuple of `Shot`.
Shots = io.Custom("DC_SHOTS")

FITS = ["crop", "pad", "stretch"]
SPEED_TOOLTIP = (
    "How fast things move; 0 = the model's default. 256 model: frame stride 1 to 6, default 3, "
    "higher = more motion. Other models: frames per second, lower = more motion. Defaults: 512 "
    "model 24, 1024 model 10, interpolation and loops 5, ToonCrafter 10."
)


class Keyframe(NamedTuple):
    """An image `[1, H, W, C]` for one frame of the video; a negative frame counts from the end."""

    frame: int
    image: Tensor


class Shot(NamedTuple):
    """One shot; without an image `[1, H, W, C]` it continues the shot before."""

    prompt: str
    length: int
    fps: int
    image: Tensor | None


def seed_input(
    tooltip: str = "Initial noise is drawn on the CPU. With eta 0 a seed gives the same video on "
    "every machine; with eta above 0 the device matters, too.",
) -> io.Input:
    return io.Int.Input(
        "seed",
        default=123,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=True,
        tooltip=tooltip,
    )


def steps_input() -> io.Input:
    return io.Int.Input(
        "steps",
        default=50,
        min=1,
        max=1000,
        tooltip="More steps take longer. Published: 50; 25 to 30 look close.",
    )


def eta_input() -> io.Input:
    return io.Float.Input(
        "eta",
        default=1.0,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip="Fresh noise added at each step. 1 as published; 0 is deterministic.",
    )


def guidance_inputs() -> list[io.Input]:
    """cfg, image_cfg and guidance_rescale, in this order."""
    scale = {"default": 7.5, "min": 0.0, "max": 100.0, "step": 0.1}
    return [
        io.Float.Input(
            "cfg",
            tooltip="How strongly the text steers. Published: 7.5. Higher follows the prompt more "
            "closely and raises contrast.",
            **scale,
        ),
        io.Float.Input(
            "image_cfg",
            tooltip="How strongly the image's context steers. Lower = more motion, higher = "
            "closer to the image. Has no effect unless image_only is connected.",
            **scale,
        ),
        io.Float.Input(
            "guidance_rescale",
            default=-1.0,
            min=-1.0,
            max=1.0,
            step=0.01,
            tooltip="Reduces the contrast that a high cfg adds, measured over the whole video. 0 "
            "= off, 1 = full. Negative = the model's default: 0.7, or 0 for 256 and VideoCrafter.",
        ),
    ]


def size_inputs(
    width: str = "Pixels, a multiple of 8. 512 model: 512, 256 model: 256, 1024 model: 1024.",
    height: str = "Pixels, a multiple of 8. 512 model: 320, 256 model: 256, 1024 model: 576.",
) -> list[io.Input]:
    """width and height, with these tooltips."""
    size = {"min": 8, "max": 8192, "step": 8}
    return [
        io.Int.Input("width", default=512, tooltip=width, **size),
        io.Int.Input("height", default=320, tooltip=height, **size),
    ]


def video_inputs() -> list[io.Input]:
    """length and batch_size, in this order."""
    return [
        io.Int.Input(
            "length",
            default=16,
            min=1,
            max=1024,
            tooltip="Frames. The models were trained on 16; other lengths run, but look worse.",
        ),
        io.Int.Input(
            "batch_size",
            default=1,
            min=1,
            max=64,
            tooltip="Videos sampled together; each needs its own memory.",
        ),
    ]


def fps_input(tooltip: str = SPEED_TOOLTIP) -> io.Input:
    return io.Int.Input("fps", default=0, min=0, max=1000, tooltip=tooltip)


def image_only_input(
    tooltip: str = "Only for two-scale guidance; otherwise leave it unconnected.",
) -> io.Input:
    return io.Conditioning.Input("image_only", optional=True, tooltip=tooltip)


def fit_input(tooltip: str) -> io.Input:
    return io.Combo.Input("fit", options=FITS, default="crop", tooltip=tooltip)


def conditioning_outputs() -> list[io.Output]:
    """positive, negative and image_only, in this order."""
    names = ("positive", "negative", "image_only")
    return [io.Conditioning.Output(display_name=name) for name in names]
