"""What can happen in the small world: objects, backgrounds, motions, captions.

A scene is a pure function of (seed, index, split), so the set is infinite and any clip can be
made again. Combinations of shape, colour and motion named by `is_held_out` never occur in the
training split.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

SIZE = 64
NUM_FRAMES = 16

SHAPES = ("circle", "square", "triangle", "cross", "ring")
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.12, 0.12),
    "green": (0.10, 0.70, 0.15),
    "blue": (0.12, 0.25, 0.92),
    "yellow": (0.95, 0.85, 0.10),
    "purple": (0.65, 0.15, 0.80),
    "cyan": (0.10, 0.80, 0.85),
}
MOTIONS = ("left", "right", "up", "down", "grow", "shrink")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SPEEDS = (8, 12, 16, 24, 30)  # frames per second; slower playback = more motion per clip

Split = Literal["train", "held_out", "all"]
Colour = tuple[float, float, float]  # RGB in [0, 1]

OPPOSITE = {
    "left": "right",
    "right": "left",
    "up": "down",
    "down": "up",
    "grow": "shrink",
    "shrink": "grow",
}

MOTION_WORDS = {
    "left": ("moves left", "is moving to the left", "slides left", "goes left"),
    "right": ("moves right", "is moving to the right", "slides right", "goes right"),
    "up": ("moves up", "is moving up", "rises up", "goes up"),
    "down": ("moves down", "is moving down", "falls down", "goes down"),
    "grow": ("grows", "is growing", "gets bigger", "becomes larger"),
    "shrink": ("shrinks", "is shrinking", "gets smaller", "becomes smaller"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One object on a background, and what it does over a clip.

    x, y: the centre on the first frame, pixels. radius: half the size on the first frame, pixels.
    background: two RGB colours in [0, 1], equal for a plain one. angle: of the gradient, radians.
    fps: the clip's frame rate, which sets the distance (`displacement`) or the ratio (`ratio`).
    """

    shape: str
    colour: str
    motion: str
    x: float
    y: float
    radius: float
    background: tuple[Colour, Colour]
    angle: float
    fps: int
    wording: int

    @property
    def displacement(self) -> tuple[float, float]:
        """Movement (dx, dy) in pixels from the first frame to the last."""
        dx, dy = DIRECTIONS.get(self.motion, (0, 0))
        distance = 40.0 - 0.8 * self.fps
        return dx * distance, dy * distance

    @property
    def ratio(self) -> float:
        """Size on the last frame over size on the first."""
        growth = 2.2 - 0.025 * self.fps
        return {"grow": growth, "shrink": 1.0 / growth}.get(self.motion, 1.0)

    @property
    def caption(self) -> str:
        """A sentence that names colour, shape and motion."""
        words = MOTION_WORDS[self.motion]
        action = words[self.wording % len(words)]
        size = ("", "small " if self.radius < 13 else "large ")[self.wording // 4 % 2]
        article = ("a", "the")[self.wording // 8 % 2]
        plain = self.background[0] == self.background[1]
        ground = ("", " on a plain background" if plain else " on a gradient background")
        return (
            f"{article} {size}{self.colour} {self.shape} {action}{ground[self.wording // 16 % 2]}"
        )

    @property
    def motion_caption(self) -> str:
        """The caption without its scene words, as for training on motion words alone."""
        words = MOTION_WORDS[self.motion]
        return words[self.wording % len(words)]


WORDINGS = 32


def is_held_out(shape: str, colour: str, motion: str) -> bool:
    """True for the one combination in seven that training never sees."""
    k, c, m = SHAPES.index(shape), list(COLOURS).index(colour), MOTIONS.index(motion)
    return (k + 2 * c + 3 * m) % 7 == 0


def _combination(random: np.random.Generator, split: Split) -> tuple[str, str, str]:
    while True:
        shape = str(random.choice(SHAPES))
        colour = str(random.choice(list(COLOURS)))
        motion = str(random.choice(MOTIONS))
        if split == "all" or is_held_out(shape, colour, motion) == (split == "held_out"):
            return shape, colour, motion


def draw_background(random: np.random.Generator) -> tuple[Colour, Colour]:
    """Two pale colours; half of the time twice the same."""

    def pale() -> Colour:
        level = random.uniform(0.25, 0.95)
        red, green, blue = (float(np.clip(level + t, 0, 1)) for t in random.uniform(-0.06, 0.06, 3))
        return red, green, blue

    first = pale()
    return first, (first if random.random() < 0.5 else pale())


def _start(random: np.random.Generator, step: float, reach: float) -> float:
    """A first coordinate. Half of the objects start near the middle whatever they do next, so
    that the image alone does not reveal the motion."""
    low, high = 10.0, SIZE - 10.0
    if random.random() < 0.5:
        return float(random.uniform(24, 40))
    if step:
        return float(random.uniform(max(low, low - step), min(high, high - step)))
    return float(random.uniform(reach, SIZE - reach))


def make_scene(seed: int, index: int, split: Split = "train") -> Scene:
    """The scene number `index` of the set `seed`."""
    codes = {"train": 0, "held_out": 1, "all": 2}
    random = np.random.default_rng((seed, codes[split], index))
    shape, colour, motion = _combination(random, split)
    radius = float(random.uniform(10, 16))
    fps = int(random.choice(SPEEDS))
    first, second = draw_background(random)
    dx, dy = DIRECTIONS.get(motion, (0, 0))
    distance = 40.0 - 0.8 * fps
    return Scene(
        shape=shape,
        colour=colour,
        motion=motion,
        x=_start(random, dx * distance, radius),
        y=_start(random, dy * distance, radius),
        radius=radius,
        background=(first, second),
        angle=float(random.uniform(0, 2 * np.pi)),
        fps=fps,
        wording=int(random.integers(WORDINGS)),
    )


def central(scene: Scene) -> Scene:
    """The scene with its object moved to where every motion has room."""
    return replace(scene, x=float(np.clip(scene.x, 26, 38)), y=float(np.clip(scene.y, 26, 38)))
