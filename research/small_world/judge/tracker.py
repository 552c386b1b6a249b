"""Follows the one object of a clip, knowing only the picture that the clip began from.

What differs from the picture's ground, in one piece, is the object. Neither the scene nor the
words are known, so a wrong colour, shape or motion shows as what it is.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

MOVED = 4.0  # Pixels that the object's middle goes before it counts as moved.
RESIZED = 3.0  # Pixels that its width and height change before it counts as resized.
# As a share of the object's area in the picture; less is a stray spot, or what is left of an object
# that leaves the picture.
SMALLEST = 0.1
STRIDE = 8  # Pixels from frame to frame; what is further away is something else.
# The weight of an edge that reached the picture's border: it went at least so far.
AT_BORDER = 0.3
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, slots=True)
class Trail:
    """The object per frame, NaN where there is none, and what is beside it.

    masks: its pixels. edges: left, right, top, bottom in pixels. on_border: those that lie on the
    picture's border. area: in pixels. colour: median RGB in [0, 1]. stray: pixels that are neither
    object nor ground. ground: mean distance of the rest to the picture's ground, per channel.
    """

    masks: np.ndarray  # [T, H, W]
    edges: np.ndarray  # [T, 4]
    on_border: np.ndarray  # [T, 4]
    area: np.ndarray  # [T]
    colour: np.ndarray  # [T, 3]
    stray: np.ndarray  # [T]
    ground: np.ndarray  # [T]

    @property
    def seen(self) -> np.ndarray:
        """Numbers of the frames with an object."""
        return np.flatnonzero(self.area > 0)

    @property
    def middle(self) -> np.ndarray:
        """Middle of the object's box, `[T, 2]` (x, y)."""
        return np.stack([self.edges[:, :2].mean(axis=1), self.edges[:, 2:].mean(axis=1)], axis=1)


def ground_of(picture: np.ndarray) -> np.ndarray:
    """The plain or linear ground behind the object of `picture` `[H, W, 3]`, same shape.

    A plane per channel with the least absolute distance to the picture's border, where most pixels
    are ground; then by least squares to all that lies near it.
    """
    height, width = picture.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    terms = np.stack([np.ones_like(x), x / width, y / height], axis=-1).reshape(-1, 3)  # [H*W, 3]
    pixels = picture.reshape(-1, 3).astype(np.float64)
    rim = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y)).ravel() < 4
    weight = np.ones(int(rim.sum()))
    plane = np.zeros((3, 3))
    for _ in range(20):
        root = np.sqrt(weight)[:, None]
        plane = np.linalg.lstsq(terms[rim] * root, pixels[rim] * root, rcond=None)[0]
        residual = np.linalg.norm(pixels[rim] - terms[rim] @ plane, axis=1)
        weight = 1 / np.maximum(residual, 0.005)
    near = np.linalg.norm(pixels - terms @ plane, axis=1) < 0.06
    if near.sum() > 0.2 * near.size:
        plane = np.linalg.lstsq(terms[near], pixels[near], rcond=None)[0]
    return (terms @ plane).reshape(picture.shape)


def follow(video: np.ndarray, picture: np.ndarray) -> Trail:
    """The object of `picture` `[H, W, 3]` through `video` `[T, H, W, 3]`, both in [0, 1].

    The object is the largest piece near its last place that is further from the ground than half
    of what the object in the picture is there.
    """
    ground = ground_of(picture)
    distance = np.linalg.norm(picture - ground, axis=2)
    inside = distance > np.percentile(distance, 99) / 2
    threshold = np.linalg.norm(np.median(picture[inside], axis=0) - ground, axis=2) / 2
    place = _largest_piece(distance > threshold)
    smallest = SMALLEST * place.sum()
    others = np.linalg.norm(video - ground, axis=3) > threshold  # [T, H, W]
    masks = []
    for other in others:
        near = ndimage.binary_dilation(place, _NEIGHBOURS, iterations=STRIDE)
        piece = _largest_piece(other, near)
        if piece.sum() < smallest:
            piece = np.zeros_like(piece)
        else:
            place = piece
        masks.append(piece)
    beside = [np.logical_not(ndimage.binary_dilation(m, iterations=3)) for m in masks]
    return Trail(
        masks=np.stack(masks),
        edges=np.stack([_edges(m) for m in masks]),
        on_border=np.stack(
            [[m[:, 0].any(), m[:, -1].any(), m[0].any(), m[-1].any()] for m in masks]
        ),
        area=np.array([m.sum() for m in masks]),
        colour=np.stack([_colour(f, m) for f, m in zip(video, masks, strict=True)]),
        stray=np.array([(o & b).sum() for o, b in zip(others, beside, strict=True)]),
        ground=np.array([_distance(f, ground, b) for f, b in zip(video, beside, strict=True)]),
    )


def _largest_piece(mask: np.ndarray, near: np.ndarray | None = None) -> np.ndarray:
    """The largest connected piece of a mask, of those that touch `near`."""
    pieces = np.empty(mask.shape, dtype=np.int32)
    if not ndimage.label(mask, _NEIGHBOURS, output=pieces):
        return mask
    sizes = np.bincount(pieces.ravel())
    if near is not None:
        sizes[np.setdiff1d(pieces, pieces[near])] = 0
    sizes[0] = 0
    return (pieces == sizes.argmax()) & (sizes.max() > 0)


def _distance(frame: np.ndarray, ground: np.ndarray, where: np.ndarray) -> float:
    """Mean absolute difference over the pixels of a mask; 0 for an empty one."""
    return float(np.abs(frame - ground)[where].sum() / (3 * max(1, where.sum())))


def _edges(mask: np.ndarray) -> np.ndarray:
    """Left, right, top, bottom: 2 and 98 % of the piece, so a stray pixel is not an edge."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return np.full(4, np.nan)
    return np.concatenate([np.quantile(at, (0.02, 0.98)) for at in (columns, rows)]) + 0.5


def _colour(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Median colour without the outline, where mixed pixels lie, if anything is left then."""
    core: np.ndarray = np.asarray(ndimage.binary_erosion(mask, border_value=1))
    pixels = frame[core if core.sum() >= 8 else mask]
    return np.median(pixels, axis=0) if len(pixels) else np.full(3, np.nan)


def change(trail: Trail) -> tuple[float, float, float]:
    """How far the object went and how much it grew, (dx, dy, size) in pixels; NaN if not seen.

    From the first two to the last two frames that show it, by least squares over its four edges:
    a shift moves two of them alike, a change of size moves them apart. An edge that began on the
    border says nothing; one that ended there says part.
    """
    seen = trail.seen
    if len(seen) < 4:
        return np.nan, np.nan, np.nan
    moved = trail.edges[seen[-2:]].mean(axis=0) - trail.edges[seen[:2]].mean(axis=0)
    began, ended = (trail.on_border[seen[part]].any(axis=0) for part in (slice(2), slice(-2, None)))
    weight = np.where(began, 0.0, np.where(ended, AT_BORDER, 1.0))
    # Rows: left, right, top, bottom edge; columns: dx, dy, size.
    equations = np.array([[1, 0, -0.5], [1, 0, 0.5], [0, 1, -0.5], [0, 1, 0.5]])
    dx, dy, size = np.linalg.lstsq(equations * weight[:, None], moved * weight, rcond=None)[0]
    return float(dx), float(dy), float(size)


def motion_of(trail: Trail, resized: float = RESIZED) -> str:
    """The one of the six motions that the object makes, or "none".

    resized: the least change of its width and height in pixels.
    """
    dx, dy, size = change(trail)
    far = max(abs(dx), abs(dy))
    if far > MOVED and far >= abs(size):
        if abs(dx) >= abs(dy):
            return "right" if dx > 0 else "left"
        return "down" if dy > 0 else "up"
    if abs(size) > resized:
        return "grow" if size > 0 else "shrink"
    return "none"
