"""Paths as people write them: points over the frames of a video, one on a line.

::

    320, 160                    where to, by the last frame
    0: 100, 80; 15: 320, 160    with the numbers of frames
    320, 160, 1.5, 90           also how large and how far turned

Source: docs/motion.md#paths.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..frames import frame_indices
from ..shown import shown

# A path of more points than any video has frames is a mistake.
MAX_POINTS = 1024
MAX_NUMBER = 1e6
# What a mask marks is whiter than this.
SEEN = 0.02
# As East Asian keyboards type them.
WIDE = {0xFF0C: ",", 0xFF1A: ":", 0xFF1B: ";"}

# (frame, or None where none is written; the numbers)
Point = tuple[int | None, tuple[float, ...]]


def read_path(text: str, start: Sequence[float], num_frames: int) -> Tensor:
    """The values of each frame along a written path: float32 `[T, len(start)]`.

    text: points by line or semicolon, as `FRAME: VALUE, VALUE, ...`, the frame dropped in all of
        them or in none. A negative frame counts from the end.
    start: the values of frame 0 unless the path says its own. Its length is how many values a point
        may have; those that a point leaves away are `start`'s, but at least two must be there.

    Points without frames are spread evenly, the last on the last frame. Between points the values
    change linearly; after the last they stay. An empty path stays at `start`. Raises ValueError,
    which quotes the point, for one that cannot be read.
    """
    points = _placed(_points(text, len(start)), num_frames)
    values = {0.0: tuple(start)}
    for time, numbers in points:
        values[time] = (*numbers, *start[len(numbers) :])
    return _between(values, num_frames)


def _points(text: str, width: int) -> list[Point]:
    lines = text.translate(WIDE).splitlines()
    pieces = [piece.strip() for line in lines for piece in line.split(";")]
    written = [piece for piece in pieces if piece]
    if len(written) > MAX_POINTS:
        raise ValueError(f"The path has {len(written)} points; write at most {MAX_POINTS}.")
    return [_point(piece, width) for piece in written]


def _point(piece: str, width: int) -> Point:
    frame, colon, rest = piece.rpartition(":")
    try:
        number = int(frame) if colon else None
        values = tuple(float(value) for value in rest.split(","))
    except ValueError:
        values, number = (), None
    # NaN is not below anything.
    near = all(abs(value) < MAX_NUMBER for value in (*values, number or 0))
    # Python reads 1_0 as 10.
    if not 2 <= len(values) <= width or not near or "_" in piece:
        raise ValueError(
            f"The path has a point '{shown(piece)}'; write it as two to {width} numbers with "
            "commas between, such as 320, 160, or with its frame, such as 15: 320, 160."
        )
    return number, values


def _placed(points: list[Point], num_frames: int) -> list[tuple[float, tuple[float, ...]]]:
    """The points with their times in frames."""
    named = [frame for frame, _ in points if frame is not None]
    if named and len(named) < len(points):
        raise ValueError(
            f"{len(named)} of the path's {len(points)} points have a frame; give all of them one, "
            "or none."
        )
    if named:
        times: Sequence[float] = frame_indices(named, num_frames, "The path's frame")
    else:
        step = (num_frames - 1) / max(1, len(points))
        times = [step * i for i in range(1, len(points) + 1)]
    return [(time, numbers) for time, (_, numbers) in zip(times, points, strict=True)]


def _between(values: Mapping[float, Sequence[float]], num_frames: int) -> Tensor:
    """Linear from each known time to the next, the last one kept: float32 `[T, K]`."""
    times = sorted(values)
    frames = np.arange(num_frames)
    columns = zip(*(values[time] for time in times), strict=True)
    found = np.stack([np.interp(frames, times, column) for column in columns], axis=1)
    return torch.from_numpy(found).float()


def path_of_masks(masks: Tensor, num_frames: int) -> Tensor:
    """Where masks have their middle, and how large they are beside the first: `[T, 4]`.

    masks: `[K, H, W]` in [0, 1], spread evenly over the frames; empty ones are passed over. The
    columns are those of `drag`: x, y, scale, turn, the last 0. Raises ValueError where all are
    empty.
    """
    areas = masks.flatten(1).sum(dim=1)
    seen = [i for i, mask in enumerate(masks) if float(mask.max()) > SEEN]
    if not seen:
        raise ValueError("All masks of the path are empty; connect masks of where the object is.")
    step = (num_frames - 1) / max(1, len(masks) - 1)
    values = {}
    for i in seen:
        scale = math.sqrt(float(areas[i] / areas[seen[0]]))
        values[i * step] = (*middle(masks[i]), scale, 0.0)
    return _between(values, num_frames)


def middle(mask: Tensor) -> tuple[float, float]:
    """The middle (x, y) of a mask `[H, W]` in pixels, the corner of the picture being 0, 0.

    Raises ValueError for a mask that marks nothing.
    """
    if float(mask.max()) <= SEEN:
        raise ValueError(
            "The mask is empty at the video's size; paint it white over what moves, inside the "
            "part of the picture that the video shows."
        )
    total = float(mask.sum())
    height, width = mask.shape
    across = torch.arange(width, device=mask.device) + 0.5
    down = torch.arange(height, device=mask.device) + 0.5
    x, y = float((mask.sum(dim=0) * across).sum()), float((mask.sum(dim=1) * down).sum())
    return x / total, y / total
