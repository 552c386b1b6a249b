"""The second tier of the small world: what else can happen beside the first tier's six motions.

Objects circle, spin, fade and bounce, the camera pans and zooms, one object passes behind another,
two objects move at once. As in the first tier a scene is a pure function of (seed, index, split),
and the combinations of kind, colour and event named by `is_held_out` never occur in training.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from .scenes import (
    COLOURS,
    DIRECTIONS,
    KINDS,
    MOTION_WORDS,
    MOTIONS,
    SIZE,
    SPEEDS,
    Colour,
    Split,
    draw_background,
)

EVENTS = ("circle", "spin", "fade", "bounce", "pan", "zoom", "occlusion", "pair")
# Kinds that look turned when they are.
TURNING_KINDS = ("square", "triangle", "cross")

Path = Literal["still", "line", "scale", "circle", "spin", "fade", "bounce"]

_CLOCKWISE = ("clockwise", "counterclockwise")


class Pose(NamedTuple):
    """An object at one moment: centre and half size in pixels, angle in radians (clockwise on the
    screen), opacity in [0, 1]."""

    x: float
    y: float
    radius: float
    angle: float
    opacity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One object and its path.

    x, y, radius: on the first frame, pixels. amount: by path the ratio of sizes (`scale`), the
    angle turned in radians (`spin`, `circle`), opacity on the last frame (`fade`), the number of
    bounces (`bounce`). shift: pixels from first to last frame (`line`), from the start to the
    centre (`circle`), to the highest point (`bounce`). faint: opacity on the first frame.
    """

    kind: str
    colour: str
    x: float
    y: float
    radius: float
    path: Path = "still"
    amount: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    faint: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.colour} {self.kind}"

    def pose(self, progress: float) -> Pose:
        """At `progress`: 0 = first frame, 1 = last."""
        x, y, radius, angle, opacity = self.x, self.y, self.radius, 0.0, self.faint
        dx, dy = self.shift
        if self.path == "line":
            x, y = x + dx * progress, y + dy * progress
        elif self.path == "scale":
            radius *= self.amount**progress
        elif self.path == "circle":
            turn = self.amount * progress
            # The start seen from the centre is -shift, turned by `turn`.
            x += dx - dx * np.cos(turn) + dy * np.sin(turn)
            y += dy - dx * np.sin(turn) - dy * np.cos(turn)
        elif self.path == "spin":
            angle = self.amount * progress
        elif self.path == "fade":
            opacity += (self.amount - self.faint) * progress
        elif self.path == "bounce":
            height = abs(np.sin(np.pi * self.amount * progress))
            x, y = x + dx * height, y + dy * height
        return Pose(float(x), float(y), radius, angle, opacity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """How the view moves. pan: pixels of the world from the first frame to the last. zoom: size of
    things on the last frame over their size on the first, about the middle of the picture."""

    pan: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventScene:
    """Actors from back to front on a background, seen by a camera.

    motion_caption: what happens, without colours and kinds. The rest is as in `Scene`.
    """

    event: str
    actors: tuple[Actor, ...]
    camera: Camera
    background: tuple[Colour, Colour]
    angle: float
    fps: int
    caption: str
    motion_caption: str


def is_held_out(kind: str, colour: str, event: str) -> bool:
    """True for the one combination of the main object and the event in seven that is kept back."""
    k, c, e = KINDS.index(kind), list(COLOURS).index(colour), EVENTS.index(event)
    return (k + 2 * c + 3 * e) % 7 == 0


def make_event(seed: int, index: int, split: Split = "train") -> EventScene:
    """The scene number `index` of the second tier's set `seed`."""
    codes = {"train": 0, "held_out": 1, "all": 2}
    # The first tier's streams end with the index.
    draw = np.random.default_rng((seed, codes[split], index, 2))
    event, kind, colour = _combination(draw, split)
    fps = int(draw.choice(SPEEDS))
    background = draw_background(draw)
    actors, camera, caption, motion = _MAKERS[event](draw, _Cast(kind, colour, fps))
    if event == "pan":
        # On a plain ground a moving camera and moving objects look the same.
        background = (background[0], draw_background(draw)[0])
    return EventScene(
        event=event,
        actors=actors,
        camera=camera,
        background=background,
        angle=float(draw.uniform(0, 2 * np.pi)),
        fps=fps,
        caption=caption,
        motion_caption=motion,
    )


class _Cast(NamedTuple):
    """The main object's kind and colour, and the clip's frame rate."""

    kind: str
    colour: str
    fps: int

    @property
    def pace(self) -> float:
        """1 at 8 frames per second down to 0.45 at 30: slower playback, more motion per clip."""
        return 1.0 - 0.025 * (self.fps - 8)


_Made = tuple[tuple[Actor, ...], Camera, str, str]
_Random = np.random.Generator


def _combination(draw: _Random, split: Split) -> tuple[str, str, str]:
    while True:
        event = str(draw.choice(EVENTS))
        kind = str(draw.choice(TURNING_KINDS if event == "spin" else KINDS))
        colour = str(draw.choice(list(COLOURS)))
        if split == "all" or is_held_out(kind, colour, event) == (split == "held_out"):
            return event, kind, colour


def _other(draw: _Random, cast: _Cast) -> tuple[str, str]:
    """Kind and colour of a second object, both unlike the first's."""
    kinds = [k for k in KINDS if k != cast.kind]
    colours = [c for c in COLOURS if c != cast.colour]
    return str(draw.choice(kinds)), str(draw.choice(colours))


def _one(draw: _Random, *wordings: str) -> str:
    return str(draw.choice(wordings))


def _alone(draw: _Random, actor: Actor, does: str) -> _Made:
    article = _one(draw, "a", "the")
    return (actor,), Camera(), f"{article} {actor.name} {does}", does


def _circle(draw: _Random, cast: _Cast) -> _Made:
    reach, start = draw.uniform(10, 14), draw.uniform(0, 2 * np.pi)
    side = int(draw.integers(2))
    away = (float(reach * np.cos(start)), float(reach * np.sin(start)))
    actor = Actor(
        kind=cast.kind,
        colour=cast.colour,
        x=SIZE / 2 + away[0],
        y=SIZE / 2 + away[1],
        radius=float(draw.uniform(9, 12)),
        path="circle",
        amount=(1 - 2 * side) * 2 * np.pi * cast.pace,
        shift=(-away[0], -away[1]),
    )
    does = _one(draw, "moves in a circle", "is moving in a circle", "goes round")
    return _alone(draw, actor, f"{does} {_CLOCKWISE[side]}")


def _spin(draw: _Random, cast: _Cast) -> _Made:
    side = int(draw.integers(2))
    actor = _centred(draw, cast, "spin", (1 - 2 * side) * 1.2 * np.pi * cast.pace)
    does = _one(draw, "spins", "is spinning", "turns", "rotates")
    return _alone(draw, actor, f"{does} {_CLOCKWISE[side]}")


def _fade(draw: _Random, cast: _Cast) -> _Made:
    # The first frame must show what it is that fades in.
    faint, last = (1.0, 0.1) if draw.random() < 0.5 else (0.25, 1.0)
    actor = _centred(draw, cast, "fade", last, faint)
    out = ("fades out", "is fading out", "disappears")
    into = ("fades in", "is fading in", "appears")
    return _alone(draw, actor, _one(draw, *(out if last < faint else into)))


def _bounce(draw: _Random, cast: _Cast) -> _Made:
    actor = Actor(
        kind=cast.kind,
        colour=cast.colour,
        x=float(draw.uniform(18, SIZE - 18)),
        y=float(draw.uniform(44, 50)),
        radius=float(draw.uniform(9, 12)),
        path="bounce",
        amount=2.5 * cast.pace,
        shift=(0.0, -float(draw.uniform(16, 22))),
    )
    return _alone(draw, actor, _one(draw, "bounces", "is bouncing", "jumps up and down"))


def _centred(draw: _Random, cast: _Cast, path: Path, amount: float, faint: float = 1.0) -> Actor:
    x, y = (float(v) for v in draw.uniform(24, 40, 2))
    radius = float(draw.uniform(11, 16))
    return Actor(
        kind=cast.kind,
        colour=cast.colour,
        x=x,
        y=y,
        radius=radius,
        path=path,
        amount=amount,
        faint=faint,
    )


def _two(draw: _Random, cast: _Cast, radius: tuple[float, float] = (8, 10)) -> tuple[Actor, Actor]:
    """Two objects side by side or one above the other."""
    kind, colour = _other(draw, cast)
    across = bool(draw.random() < 0.5)
    places = [float(v) for v in (18 + draw.uniform(-3, 3), 46 + draw.uniform(-3, 3))]
    if draw.random() < 0.5:
        places.reverse()
    level = [float(v) for v in draw.uniform(28, 36, 2)]
    spots = (
        list(zip(places, level, strict=True)) if across else list(zip(level, places, strict=True))
    )
    sizes = [float(v) for v in draw.uniform(*radius, 2)]
    looks = ((cast.kind, cast.colour), (kind, colour))
    first, second = (
        Actor(kind=k, colour=c, x=x, y=y, radius=r)
        for (k, c), (x, y), r in zip(looks, spots, sizes, strict=True)
    )
    return first, second


def _seen(draw: _Random, actors: tuple[Actor, ...], camera: Camera, does: str) -> _Made:
    names = " and ".join(f"a {actor.name}" for actor in actors)
    return actors, camera, _one(draw, f"{names} while {does}", f"{does} over {names}"), does


def _pan(draw: _Random, cast: _Cast) -> _Made:
    word = _one(draw, *DIRECTIONS)
    dx, dy = DIRECTIONS[word]
    way = 22 * cast.pace
    does = _one(draw, f"the camera pans {word}", f"the camera moves {word}")
    return _seen(draw, _two(draw, cast), Camera(pan=(dx * way, dy * way)), does)


def _zoom(draw: _Random, cast: _Cast) -> _Made:
    inward = bool(draw.random() < 0.5)
    ratio = 1 + 0.8 * cast.pace
    does = _one(draw, "the camera zooms", "the camera is zooming") + (" in" if inward else " out")
    return _seen(draw, _two(draw, cast), Camera(zoom=ratio if inward else 1 / ratio), does)


def _occlusion(draw: _Random, cast: _Cast) -> _Made:
    kind, colour = _other(draw, cast)
    side = 1 if draw.random() < 0.5 else -1
    middle, way = SIZE / 2, 20 + 24 * cast.pace
    level = float(draw.uniform(28, 36))
    mover = Actor(
        kind=cast.kind,
        colour=cast.colour,
        x=middle - side * way / 2,
        y=level,
        radius=float(draw.uniform(7, 9)),
        path="line",
        shift=(side * way, 0.0),
    )
    # A ring or a cross would not hide what is behind it.
    wall = Actor(
        kind=kind if kind in ("circle", "square") else "square",
        colour=colour,
        x=middle,
        y=level,
        radius=float(draw.uniform(12, 15)),
    )
    word = "right" if side > 0 else "left"
    does = f"{_one(draw, 'moves', 'passes', 'slides')} {word} behind"
    caption = f"{_one(draw, 'a', 'the')} {mover.name} {does} a {wall.name}"
    return (mover, wall), Camera(), caption, does


def _pair(draw: _Random, cast: _Cast) -> _Made:
    actors, parts, motions = [], [], []
    for actor in _two(draw, cast):
        motion = _one(draw, *[m for m in MOTIONS if m not in motions])
        motions.append(motion)
        does = _one(draw, *MOTION_WORDS[motion])
        actors.append(_moving(actor, motion, cast.pace))
        parts.append((f"a {actor.name} {does}", does))
    caption, motion_caption = (" and ".join(words) for words in zip(*parts, strict=True))
    return tuple(actors), Camera(), caption, motion_caption


def _moving(actor: Actor, motion: str, pace: float) -> Actor:
    """`actor` with one of the first tier's motions, over a shorter way."""
    if motion in DIRECTIONS:
        dx, dy = DIRECTIONS[motion]
        return replace(actor, path="line", shift=(dx * 14 * pace, dy * 14 * pace))
    ratio = 1 + 0.6 * pace
    return replace(actor, path="scale", amount=ratio if motion == "grow" else 1 / ratio)


_MAKERS = {
    "circle": _circle,
    "spin": _spin,
    "fade": _fade,
    "bounce": _bounce,
    "pan": _pan,
    "zoom": _zoom,
    "occlusion": _occlusion,
    "pair": _pair,
}
