"""How a camera moved, by optical flow: Lucas and Kanade's, with one motion for the whole picture.

A camera over a flat picture has four numbers: two of the shift, the zoom, the roll. All pixels
together give them, each as much as its gradient says, so plain grounds say nothing. The flow is
refined from blurred to sharp pictures, and from frame to frame. Steps are found on the picture and
undone on the frame (Baker and Matthews 2004, the inverse compositional algorithm).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

BLURS = (4.0, 2.0, 1.0)  # Pixels; the first decides how far the start may be off.
ROUNDS = 8
CLOSE = 1e-3  # Pixels; a smaller step is the last.


@dataclass(frozen=True, slots=True)
class Move:
    """Where a picture's points are seen: `turn * point + shift`, in the complex plane.

    Points are x + iy in pixels from the picture's middle, y downwards. shift: in pixels. turn: its
    length is the zoom, its angle the roll, clockwise in radians.
    """

    shift: complex = 0j
    turn: complex = 1 + 0j

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Where points are seen."""
        return self.turn * points + self.shift

    def without(self, step: "Move") -> "Move":
        """This move where `step` has been undone before."""
        turn = self.turn / step.turn
        return Move(self.shift - turn * step.shift, turn)


def points_of(height: int, width: int) -> np.ndarray:
    """The pixels' places from the picture's middle: complex `[H, W]`."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    return (x - (width - 1) / 2) + 1j * (y - (height - 1) / 2)


def gradients(picture: np.ndarray) -> np.ndarray:
    """Slopes of each channel at each pixel of `[H, W, C]`, across + i down: complex `[H, W, C]`."""
    down, across = np.gradient(picture, axis=(0, 1))
    return across + 1j * down


def along(slopes: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A flow `[H, W]` along the slopes `[H, W, C]`, times their length; all of it that shows."""
    return np.real(slopes.conj() * flow[..., None])


def moves_of(video: np.ndarray, picture: np.ndarray) -> list[Move]:
    """The move from `picture` `[H, W, C]` to each frame of `video` `[T, H, W, C]`."""
    found, last = [], Move()
    soft_pictures = [_blurred(picture, blur) for blur in BLURS]
    for frame in video:
        for blur, soft in zip(BLURS, soft_pictures, strict=True):
            last = _refined(soft, _blurred(frame, blur), last)
        found.append(last)
    return found


def _blurred(picture: np.ndarray, blur: float) -> np.ndarray:
    return ndimage.gaussian_filter(picture.astype(np.float64), (blur, blur, 0))


def _refined(picture: np.ndarray, frame: np.ndarray, move: Move) -> Move:
    """The move that makes `frame`, looked at along it, most like `picture`."""
    height, width = picture.shape[:2]
    points, slopes = points_of(height, width), gradients(picture)
    # What shifts across and down, a zoom and a roll do to each value.
    rows = np.stack(
        [along(slopes, flow) for flow in (points**0, 1j * points**0, points, 1j * points)]
    )
    for _ in range(ROUNDS):
        seen = move.seen(points)
        x, y = np.real(seen), np.imag(seen)
        inside = (np.abs(x) <= (width - 1) / 2) & (np.abs(y) <= (height - 1) / 2)
        change = (_looked_up(frame, seen) - picture)[inside].ravel()
        found = np.linalg.lstsq(rows[:, inside].reshape(4, -1).T, change, rcond=1e-6)[0]
        step = Move(complex(found[0], found[1]), np.exp(complex(found[2], found[3])))
        move = move.without(step)
        if abs(step.seen(points) - points).max() < CLOSE:
            break
    return move


def _looked_up(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """`image` `[H, W, C]` at complex places `[H, W]`."""
    height, width = image.shape[:2]
    at = np.stack([np.imag(places) + (height - 1) / 2, np.real(places) + (width - 1) / 2])
    channels = np.moveaxis(image, -1, 0)
    seen = [ndimage.map_coordinates(c, at, order=1, mode="nearest") for c in channels]
    return np.stack(seen, axis=-1)
