"""Wire types of our own, and widgets that several nodes show, each with one range and default."""

from typing import Any, NamedTuple

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
    "model 24, 1024 model 10 (CIL 24), interpolation and loops 5, ToonCrafter 10."
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


def integer(
    name: str, default: int, span: tuple[int, int], tooltip: str, **more: Any
) -> io.Int.Input:
    """A whole number within `span`; more: as `io.Int.Input` takes it."""
    least, most = span
    return io.Int.Input(name, default=default, min=least, max=most, tooltip=tooltip, **more)


def real(
    name: str, default: float, span: tuple[float, float], tooltip: str, **more: Any
) -> io.Float.Input:
    """A number within `span`; more: as `io.Float.Input` takes it."""
    least, most = span
    return io.Float.Input(name, default=default, min=least, max=most, tooltip=tooltip, **more)


def patched_model_input() -> io.Input:
    return io.Model.Input("model", tooltip="A DynamiCrafter model. Only the output is changed.")


def prompt_inputs(source: str = "Visual Detail Guidance") -> list[io.Input]:
    """positive and negative, in this order, from the node of this name."""
    names = ("positive", "negative")
    return [io.Conditioning.Input(name, tooltip=f"From {source}.") for name in names]


def seed_input(
    tooltip: str = "Initial noise is drawn on the CPU. With eta 0 a seed gives the same video on "
    "every machine; with eta above 0 the device matters, too.",
) -> io.Input:
    return integer("seed", 123, (0, 0xFFFFFFFFFFFFFFFF), tooltip, control_after_generate=True)


def steps_input() -> io.Input:
    return integer(
        "steps", 50, (1, 1000), "More steps take longer. Published: 50; 25 to 30 look close."
    )


def eta_input() -> io.Input:
    return real(
        "eta",
        1.0,
        (0.0, 1.0),
        "Fresh noise added at each step. 1 as published; 0 is deterministic.",
        step=0.01,
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
        real(
            "guidance_rescale",
            -1.0,
            (-1.0, 1.0),
            "Reduces the contrast that a high cfg adds, measured over the whole video. 0 "
            "= off, 1 = full. Negative = the model's default: 0.7, or 0 for 256 and VideoCrafter.",
            step=0.01,
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
        integer(
            "length",
            16,
            (1, 1024),
            "Frames. The models were trained on 16; other lengths run, but look worse.",
        ),
        integer("batch_size", 1, (1, 64), "Videos sampled together; each needs its own memory."),
    ]


def fps_input(tooltip: str = SPEED_TOOLTIP) -> io.Input:
    return integer("fps", 0, (0, 1000), tooltip)


def image_only_input(
    tooltip: str = "Only for two-scale guidance; otherwise leave it unconnected.",
) -> io.Input:
    return io.Conditioning.Input("image_only", optional=True, tooltip=tooltip)


def two_scales_input() -> io.Input:
    """image_only where connecting it is what turns two-scale guidance on."""
    return image_only_input(
        "From Visual Detail Guidance. Turns on two-scale guidance, so image_cfg takes effect."
    )


def fit_input(
    tooltip: str = "How images are resized to the video: crop fills the frame and cuts the rest, "
    "pad adds black bars, stretch distorts.",
) -> io.Input:
    return io.Combo.Input("fit", options=FITS, default="crop", tooltip=tooltip)


def conditioning_outputs() -> list[io.Output]:
    """positive, negative and image_only, in this order."""
    names = ("positive", "negative", "image_only")
    return [io.Conditioning.Output(display_name=name) for name in names]
