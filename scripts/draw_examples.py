"""Draws the example images and the icon in assets/ (Pillow and NumPy; run once, results committed).

python -m scripts.draw_examples assets
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from research.small_world.world.examples import EXAMPLES
from research.small_world.world.render import render_frame
from research.small_world.world.scenes import Scene

WIDTH, HEIGHT = 512, 320
SAMPLES = 4  # drawn larger by this, then scaled down: smooth edges
Colour = tuple[int, int, int]


def gradient(*stops: Colour) -> Image.Image:
    """The whole picture, top to bottom through the colours."""
    rows = np.linspace(0, len(stops) - 1, HEIGHT * SAMPLES)
    channels = [np.interp(rows, range(len(stops)), channel) for channel in zip(*stops, strict=True)]
    column = np.stack(channels, -1)[:, None, :].astype(np.uint8)
    return Image.fromarray(column).resize((WIDTH * SAMPLES, HEIGHT * SAMPLES))


def glow(picture: Image.Image, x: float, y: float, radius: float, colour: Colour) -> None:
    """A disc with a soft halo."""
    mask = Image.new("L", picture.size)
    disc = ImageDraw.Draw(mask)
    for spread, strength in ((2.6, 60), (1.7, 90)):
        disc.ellipse(box(x, y, radius * spread), fill=strength)
    mask = mask.filter(ImageFilter.GaussianBlur(radius * SAMPLES * 0.6))
    ImageDraw.Draw(mask).ellipse(box(x, y, radius), fill=255)
    picture.paste(colour, mask=mask)


def box(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    """The square around a disc, in drawn pixels."""
    return tuple(SAMPLES * v for v in (x - radius, y - radius, x + radius, y + radius))  # type: ignore[return-value]


def ridge(height: float, *waves: tuple[float, float, float]) -> list[tuple[float, float]]:
    """A polygon below a sum of waves (amplitude, length, phase), in pixels."""
    x = np.linspace(0, WIDTH, 160)
    y = height + sum(a * np.sin(2 * np.pi * x / length + phase) for a, length, phase in waves)
    return [*zip(x, np.broadcast_to(y, x.shape), strict=True), (WIDTH, HEIGHT), (0, HEIGHT)]


def fill(picture: Image.Image, points: list[tuple[float, float]], colour: Colour) -> None:
    """A filled polygon; points in pixels."""
    scaled = [(x * SAMPLES, y * SAMPLES) for x, y in points]
    ImageDraw.Draw(picture).polygon(scaled, fill=colour)


def boat(picture: Image.Image, x: float, y: float, size: float, sails: Colour) -> None:
    """A small sailing boat; (x, y) is where mast and hull meet."""

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x + px * size, y + py * size) for px, py in points]

    darker = tuple(int(0.82 * c) for c in sails)
    fill(picture, at((0.03, -1.5), (0.03, -0.1), (0.72, -0.1), (0.45, -0.7)), sails)
    fill(picture, at((-0.05, -1.35), (-0.05, -0.1), (-0.55, -0.1)), darker)  # type: ignore[arg-type]
    fill(picture, at((-0.02, -1.6), (0.02, -1.6), (0.02, 0.05), (-0.02, 0.05)), (84, 58, 44))
    fill(picture, at((-0.8, 0), (0.9, 0), (0.6, 0.32), (-0.55, 0.32)), (150, 66, 48))
    fill(picture, at((-0.8, 0), (0.9, 0), (0.86, 0.06), (-0.77, 0.06)), (236, 220, 196))


def sea(picture: Image.Image, top: float, colours: list[Colour], phase: float) -> None:
    """Rows of waves, one colour each, nearer rows larger."""
    for row, colour in enumerate(colours):
        near = row / max(1, len(colours) - 1)
        y = top + (HEIGHT - top) * (0.08 + 0.72 * near**1.3) * (row > 0)
        waves = ((1 + 4.5 * near, 60 + 150 * near, phase + 1.7 * row), (1 + near, 37, 2.1 * row))
        fill(picture, ridge(y, *waves), colour)


def mix(start: Colour, end: Colour, count: int) -> list[Colour]:
    """`count` colours from one to the other."""
    steps = np.linspace(0, 1, count)[:, None]
    return [
        tuple(int(v) for v in row)  # type: ignore[misc]
        for row in (1 - steps) * np.array(start) + steps * np.array(end)
    ]


def finished(picture: Image.Image) -> Image.Image:
    """The picture at its size, with a trace of grain, so no area is a flat computed colour."""
    small = np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), np.float32)
    grain = np.random.default_rng(0).normal(0, 1.2, small.shape[:2])[..., None]
    return Image.fromarray(np.clip(small + grain, 0, 255).astype(np.uint8))


def sailboat() -> Image.Image:
    """A boat on gentle waves, the sun low behind it."""
    picture = gradient((92, 142, 200), (168, 200, 222), (252, 222, 176), (250, 196, 140))
    glow(picture, 352, 150, 24, (255, 244, 214))
    for y, x, length in ((46, 90, 74), (64, 160, 46), (38, 400, 60)):
        fill(picture, [(x - length, y), (x, y - 9), (x + length, y), (x, y + 4)], (240, 240, 240))
    fill(picture, ridge(176, (9, 190, 0.4), (4, 70, 1.0)), (120, 136, 164))
    waves = mix((122, 158, 176), (24, 72, 110), 7)
    sea(picture, 186, waves[:4], 0.3)
    boat(picture, 214, 226, 62, (250, 246, 236))
    sea(picture, 238, waves[4:], 1.1)
    return finished(picture)


def sailboat_dusk() -> Image.Image:
    """The same boat further on at dusk: an end image."""
    picture = gradient((34, 40, 84), (88, 70, 122), (206, 112, 108), (244, 170, 110))
    glow(picture, 352, 176, 24, (255, 206, 140))
    fill(picture, ridge(176, (9, 190, 0.4), (4, 70, 1.0)), (66, 62, 100))
    waves = mix((150, 104, 124), (16, 30, 62), 7)
    sea(picture, 186, waves[:4], 1.5)
    boat(picture, 316, 226, 62, (252, 214, 176))
    sea(picture, 238, waves[4:], 2.4)
    return finished(picture)


def balloon() -> Image.Image:
    """A hot-air balloon over hills."""
    picture = gradient((70, 130, 196), (150, 196, 228), (226, 238, 240))
    fill(picture, ridge(214, (16, 260, 0.2), (6, 90, 1.2)), (150, 176, 190))
    fill(picture, ridge(240, (14, 330, 2.2), (5, 110, 0.1)), (106, 152, 128))
    fill(picture, ridge(272, (12, 420, 4.0), (3, 80, 0.7)), (66, 120, 84))
    draw = ImageDraw.Draw(picture)
    stripes = [(214, 74, 62), (246, 206, 110), (214, 74, 62), (246, 206, 110), (214, 74, 62)]
    for i, colour in enumerate(stripes):
        width = 62 * (1 - i / len(stripes))
        left, top, right, bottom = (SAMPLES * v for v in (232 - width, 42, 232 + width, 160))
        draw.ellipse((left, top, right, bottom), fill=colour)
    fill(picture, [(188, 142), (276, 142), (246, 184), (218, 184)], (188, 60, 52))
    fill(picture, [(220, 184), (222, 184), (224, 204), (222, 204)], (90, 66, 50))
    fill(picture, [(242, 184), (244, 184), (242, 204), (240, 204)], (90, 66, 50))
    fill(picture, [(221, 202), (243, 202), (240, 220), (224, 220)], (130, 90, 58))
    return finished(picture)


def icon() -> Image.Image:
    """The boat and the sun, square."""
    picture = gradient((60, 96, 170), (170, 150, 190), (250, 190, 130))
    glow(picture, 296, 150, 44, (255, 240, 206))
    waves = mix((92, 120, 160), (24, 56, 104), 6)
    sea(picture, 200, waves[:3], 0.3)
    boat(picture, 246, 236, 100, (250, 246, 236))
    sea(picture, 252, waves[3:], 1.1)
    left = (WIDTH - HEIGHT) // 2
    return finished(picture).crop((left, 0, left + HEIGHT, HEIGHT))


def frame_of(scene: Scene, progress: float) -> Image.Image:
    """The picture of a scene at `progress` (0 = before anything moves, 1 = last), 64 x 64."""
    frame = render_frame(scene, progress=progress).transpose(1, 2, 0)
    return Image.fromarray((frame * 255).round().astype(np.uint8))


def main() -> None:
    folder = Path(sys.argv[1])
    for draw in (sailboat, sailboat_dusk, balloon, icon):
        draw().save(folder / f"{draw.__name__}.png", optimize=True)
    for name, scene in EXAMPLES.items():
        frame_of(scene, 0.0).save(folder / f"{name}.png", optimize=True)
    # Where the circle arrives, for the workflows with several pictures. A clip's ninth frame of
    # sixteen is at 8/15.
    for suffix, progress in (("half", 8 / 15), ("end", 1.0)):
        picture = frame_of(EXAMPLES["small_world_circle"], progress)
        picture.save(folder / f"small_world_circle_{suffix}.png", optimize=True)


if __name__ == "__main__":
    main()
