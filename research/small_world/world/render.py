"""Draws scenes: anti-aliased objects by signed distance, in NumPy."""

from functools import lru_cache

import numpy as np

from .scenes import COLOURS, NUM_FRAMES, SIZE, Colour, Scene


@lru_cache(maxsize=4)
def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x, y `[H, W]` of the pixels' centres."""
    axis = np.arange(size, dtype=np.float32) + 0.5
    return np.meshgrid(axis, axis, indexing="xy")  # type: ignore[return-value]


def _box(x: np.ndarray, y: np.ndarray, half_x: float, half_y: float) -> np.ndarray:
    return np.maximum(np.abs(x) - half_x, np.abs(y) - half_y)


def signed_distance(shape: str, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Distance to the outline in pixels, negative inside. x, y: from the centre, y downwards.

    Raises KeyError for an unknown shape.
    """
    if shape == "circle":
        return np.hypot(x, y) - radius
    if shape == "ring":
        return np.abs(np.hypot(x, y) - radius * 0.72) - radius * 0.28
    if shape == "square":
        return _box(x, y, radius * 0.88, radius * 0.88)
    if shape == "cross":
        arm = radius * 0.34
        return np.minimum(_box(x, y, radius, arm), _box(x, y, arm, radius))
    if shape == "triangle":
        slope = np.float32(np.sqrt(3) / 2)
        sides = np.abs(x) * slope - (y + radius) * 0.5
        return np.maximum(sides, y - radius * 0.75)
    raise KeyError(shape)


def gradient(
    colours: tuple[Colour, Colour], angle: float, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """From one colour to the other along `angle`: `[3, H, W]`. x, y: 0 to 1 over the picture."""
    along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    mix = np.clip(along / np.sqrt(2) + 0.5, 0, 1)[None]
    first, second = (np.asarray(c, dtype=np.float32)[:, None, None] for c in colours)
    return (first * (1 - mix) + second * mix).astype(np.float32)


def background(scene: Scene, size: int = SIZE) -> np.ndarray:
    """`[3, H, W]` in [0, 1]."""
    x, y = grid(size)
    return gradient(scene.background, scene.angle, x / size, y / size)


def object_mask(scene: Scene, progress: float, size: int = SIZE) -> np.ndarray:
    """Coverage `[H, W]` in [0, 1] at `progress` (0 = first frame, 1 = last)."""
    zoom = size / SIZE
    dx, dy = scene.displacement
    x, y = grid(size)
    x = x - (scene.x + dx * progress) * zoom
    y = y - (scene.y + dy * progress) * zoom
    radius = scene.radius * scene.ratio**progress * zoom
    return np.clip(0.5 - signed_distance(scene.shape, x, y, radius), 0, 1).astype(np.float32)


def render_frame(scene: Scene, progress: float, size: int = SIZE) -> np.ndarray:
    """One frame `[3, H, W]` in [0, 1]."""
    mask = object_mask(scene, progress, size)[None]
    colour = np.asarray(COLOURS[scene.colour], dtype=np.float32)[:, None, None]
    return background(scene, size) * (1 - mask) + colour * mask


def render_clip(scene: Scene, num_frames: int = NUM_FRAMES, size: int = SIZE) -> np.ndarray:
    """The clip `[T, 3, H, W]` in [0, 1]."""
    times = np.linspace(0, 1, num_frames)
    return np.stack([render_frame(scene, float(t), size) for t in times])
