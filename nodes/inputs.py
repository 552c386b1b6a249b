"""Widgets that several nodes show, each with one range and one default."""

from typing import Any

from comfy_api.latest import io

FITS = ["crop", "pad", "stretch"]


def seed_input(
    tooltip: str = "The start's noise is drawn on the CPU, that of each step (eta above 0) where "
    "the model runs: with eta 0 a seed gives one video on any machine.",
) -> Any:
    return io.Int.Input(
        "seed",
        default=123,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=True,
        tooltip=tooltip,
    )


def steps_input(tooltip: str = "Published: 50. 25 to 30 look close.") -> Any:
    return io.Int.Input("steps", default=50, min=1, max=1000, tooltip=tooltip)


def eta_input() -> Any:
    return io.Float.Input(
        "eta",
        default=1.0,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip="Fresh noise in each step: 1 as published, 0 deterministic.",
    )


def guidance_inputs() -> list[Any]:
    """cfg, image_cfg and guidance_rescale, in this order."""
    scale = {"default": 7.5, "min": 0.0, "max": 100.0, "step": 0.1}
    return [
        io.Float.Input("cfg", tooltip="How strongly the text steers.", **scale),
        io.Float.Input(
            "image_cfg",
            tooltip="How strongly the image's context steers; unused without image_only.",
            **scale,
        ),
        io.Float.Input(
            "guidance_rescale",
            default=-1.0,
            min=-1.0,
            max=1.0,
            step=0.01,
            tooltip="Tames the contrast that a high cfg brings, per video. Negative = the model's "
            "own (0.7; 256 and VideoCrafter: 0).",
        ),
    ]


def size_inputs(width: str = "256: 256; 1024: 1024.", height: str = "256: 256; 1024: 576.") -> Any:
    """width and height, with these tooltips."""
    size = {"min": 8, "max": 8192, "step": 8}
    return [
        io.Int.Input("width", default=512, tooltip=width, **size),
        io.Int.Input("height", default=320, tooltip=height, **size),
    ]


def video_inputs() -> list[Any]:
    """length and batch_size, in this order."""
    return [
        io.Int.Input("length", default=16, min=1, max=1024, tooltip="Frames; the models know 16."),
        io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="Videos at once."),
    ]


def fit_input(tooltip: str) -> Any:
    return io.Combo.Input("fit", options=FITS, default="crop", tooltip=tooltip)


def conditioning_outputs() -> list[Any]:
    """positive, negative and image_only, in this order."""
    names = ("positive", "negative", "image_only")
    return [io.Conditioning.Output(display_name=name) for name in names]
