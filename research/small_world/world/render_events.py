"""Draws the scenes of the second tier."""

import numpy as np

from .events import Camera, EventScene, Pose
from .render import gradient, grid, signed_distance
from .scenes import COLOURS, NUM_FRAMES, SIZE


def world_grid(camera: Camera, progress: float, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """The point of the world that each pixel of the picture shows: x, y `[H, W]`, of 64."""
    x, y = grid(size)
    zoom, middle = camera.zoom**progress, SIZE / 2
    dx, dy = (v * progress for v in camera.pan)
    scale = SIZE / size / zoom
    return (x - size / 2) * scale + middle + dx, (y - size / 2) * scale + middle + dy


def coverage(kind: str, pose: Pose, x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """How much of each pixel an object covers, times its opacity: `[H, W]` in [0, 1].

    x, y: points of the world; pixel: the distance of two neighbours.
    """
    right, down = x - pose.x, y - pose.y
    cosine, sine = np.cos(pose.angle), np.sin(pose.angle)
    along, across = right * cosine + down * sine, down * cosine - right * sine
    inside = 0.5 - signed_distance(kind, along, across, pose.radius) / pixel
    return (np.clip(inside, 0, 1) * pose.opacity).astype(np.float32)


def render_event_frame(scene: EventScene, progress: float, size: int = SIZE) -> np.ndarray:
    """One frame `[3, H, W]` in [0, 1]."""
    x, y = world_grid(scene.camera, progress, size)
    pixel = SIZE / size / scene.camera.zoom**progress
    frame = gradient(scene.background, scene.angle, x / SIZE, y / SIZE)
    for actor in scene.actors:
        mask = coverage(actor.kind, actor.pose(progress), x, y, pixel)[None]
        colour = np.asarray(COLOURS[actor.colour], dtype=np.float32)[:, None, None]
        frame = frame * (1 - mask) + colour * mask
    return frame.astype(np.float32)


def render_event(scene: EventScene, num_frames: int = NUM_FRAMES, size: int = SIZE) -> np.ndarray:
    """The clip `[T, 3, H, W]` in [0, 1]."""
    times = np.linspace(0, 1, num_frames)
    return np.stack([render_event_frame(scene, float(t), size) for t in times])
