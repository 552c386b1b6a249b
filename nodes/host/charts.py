"""The chart of a model's lambdas as an IMAGE, drawn with Pillow."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

WIDTH, HEIGHT = 960, 480
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 64, 72
INK, GRID, PAPER = (40, 40, 46), (221, 221, 226), (252, 252, 250)
OUTER, MIDDLE = (66, 114, 184), (217, 119, 66)


def lambda_chart(
    title: str, names: Sequence[str], values: Sequence[float], middle: Sequence[bool]
) -> Tensor:
    """One bar per layer, middle ones in a second colour. Returns `[1, 480, 960, 3]`."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(picture)
    top = max(2.0, *values) * 1.05

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * max(0.0, value) / top

    draw.text((LEFT, 18), title, INK, ImageFont.load_default(20))
    for tick in np.linspace(0, top / 1.05, 5):
        draw.line((LEFT, y_of(tick), WIDTH - RIGHT, y_of(tick)), GRID)
        label = f"{tick:.2g}"
        draw.text((LEFT - 10, y_of(tick)), label, INK, ImageFont.load_default(13), anchor="rm")
    step = (WIDTH - LEFT - RIGHT) / len(values)
    for i, (name, value, marked) in enumerate(zip(names, values, middle, strict=True)):
        left = LEFT + step * i + step * 0.15
        right = left + step * 0.7
        colour = MIDDLE if marked else OUTER
        draw.rectangle((left, y_of(value), right, y_of(0)), colour)
        centre, small = (left + right) / 2, ImageFont.load_default(12)
        draw.text((centre, y_of(value) - 4), f"{value:.2f}", INK, small, anchor="mb")
        draw.text((centre, y_of(0) + 8), name, INK, small, anchor="mt")
    _legend(draw)
    pixels = np.asarray(picture, dtype=np.float32) / 255.0
    return torch.from_numpy(pixels.copy())[None]  # [1, H, W, 3]


def _legend(draw: ImageDraw.ImageDraw) -> None:
    font = ImageFont.load_default(13)
    for x, colour, text in ((LEFT, OUTER, "outer layers"), (LEFT + 140, MIDDLE, "middle layers")):
        draw.rectangle((x, HEIGHT - 28, x + 14, HEIGHT - 14), colour)
        draw.text((x + 22, HEIGHT - 21), text, INK, font, anchor="lm")
