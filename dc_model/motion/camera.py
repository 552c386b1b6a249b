"""Camera moves over one picture: a rough reference video, and what it knows of each frame.

Source: docs/motion.md#camera; Time-to-Move (arXiv 2511.08633), which moves a camera over a depth
picture the same way.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..shown import shown
from .path import read_path
from .warp import fill, grown, place

# What a frame's camera is given by, in this order.
COLUMNS = ("x", "y", "zoom", "roll", "orbit")
STILL = (0.0, 0.0, 1.0, 0.0, 0.0)
ZOOMS = (0.05, 20.0)
ROLL_DEGREES = 90.0
# Names of moves, and the camera at their end for an amount of 1; zoom in powers of two.
MOVES: dict[str, tuple[float, float, float, float, float]] = {
    "pan_left": (-1, 0, 0, 0, 0),
    "pan_right": (1, 0, 0, 0, 0),
    "pan_up": (0, -1, 0, 0, 0),
    "pan_down": (0, 1, 0, 0, 0),
    "zoom_in": (0, 0, 1, 0, 0),
    "zoom_out": (0, 0, -1, 0, 0),
    "roll_left": (0, 0, 0, -ROLL_DEGREES, 0),
    "roll_right": (0, 0, 0, ROLL_DEGREES, 0),
    "orbit_left": (0, 0, 0, 0, -1),
    "orbit_right": (0, 0, 0, 0, 1),
}


def camera_path(move: str, amount: float, num_frames: int) -> Tensor:
    """The camera of each frame for a move of `MOVES`: float32 `[T, 5]`, in `COLUMNS`.

    amount: shares of the picture for pans, powers of two for zooms, right angles for rolls, shares
    of the picture between near and far for orbits. Linear in time, zoom in its logarithm; frame 0
    is the picture. Raises ValueError for another name.
    """
    if move not in MOVES:
        raise ValueError(f"move is '{shown(move)}'; choose one of {', '.join(MOVES)}.")
    time = torch.arange(num_frames) / max(1, num_frames - 1)
    cameras = time[:, None] * amount * torch.tensor(MOVES[move])
    cameras[:, 2] = 2 ** cameras[:, 2]
    return cameras


def written_path(text: str, num_frames: int) -> Tensor:
    """The camera of each frame along a path as people write it: `[T, 5]`; see `read_path`.

    A point is `x, y`, then maybe zoom, roll in degrees and orbit. x, y and orbit are shares of the
    picture.
    """
    return read_path(text, STILL, num_frames)


def move_camera(
    picture: Tensor,
    cameras: Tensor,
    depth: Tensor | None = None,
    on_frame: Callable[[], object] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """The reference video `[T, C, H, W]` and what of it was in the picture `[T, H, W]`.

    picture: `[C, H, W]` in [0, 1]. cameras: `[T, 5]`, in `COLUMNS`: where the camera is, as shares
        of width and height to the right and downwards; zoom, above 1 nearer; roll in degrees,
        clockwise; orbit, to the right around the middle distance.
    depth: `[H, W]` in [0, 1], 1 nearest, which an orbit needs. on_frame: called before each frame.

    Places that the picture does not show are filled smoothly and 0 in the mask. A frame whose
    camera stands still is the picture. Raises ValueError for an orbit without depth and for a zoom
    out of 0.05 to 20.
    """
    _check_cameras(cameras, depth)
    depth = None if depth is None else depth.to(picture)
    frames, masks = [], []
    for camera in cameras.tolist():
        on_frame()
        frame, mask = _seen_from(picture, camera, depth)
        frames.append(frame)
        masks.append(mask)
    return torch.stack(frames), torch.stack(masks)


def _check_cameras(cameras: Tensor, depth: Tensor | None) -> None:
    low, high = ZOOMS
    zooms = cameras[:, 2]
    if not bool(((zooms >= low) & (zooms <= high)).all()):
        raise ValueError(
            f"The camera zooms by {float(zooms.min()):g} to {float(zooms.max()):g}; choose {low:g} "
            f"to {high:g}."
        )
    if depth is None and bool((cameras[:, 4] != 0).any()):
        raise ValueError("An orbit needs a depth picture; connect one, or choose another move.")


def _seen_from(picture: Tensor, camera: list[float], depth: Tensor | None) -> tuple[Tensor, Tensor]:
    """One frame `[C, H, W]` and what of it was in the picture `[H, W]`."""
    x, y, zoom, roll, orbit = camera
    height, width = picture.shape[-2:]
    seen, known = picture, picture.new_ones(height, width)
    if (x, y, zoom, roll, orbit) == STILL:
        return seen, known
    if orbit:
        assert depth is not None  # checked before
        seen, known = _parallax(picture, depth, orbit)
    home = (width / 2, height / 2)
    target = (home[0] - x * width * zoom, home[1] - y * height * zoom)
    moved = place(torch.cat([seen * known, known[None]]), home, target, zoom, -roll)
    cover = moved[-1]
    inside = (cover > 0.99).to(picture)
    colours = moved[:-1] / cover.clamp(min=1e-6)
    # A camera that left the picture sees its last known border.
    return fill(colours, inside) if bool(inside.any()) else _mean(picture), inside


def _mean(picture: Tensor) -> Tensor:
    return picture.mean(dim=(1, 2), keepdim=True).expand_as(picture)


def _parallax(picture: Tensor, depth: Tensor, orbit: float) -> tuple[Tensor, Tensor]:
    """The picture from a camera to the side, and what of it is known `[H, W]`.

    Near pixels go against the camera, far ones with it, by up to half of `orbit` widths; nearer
    ones cover farther ones.
    """
    channels, height, width = picture.shape
    source = torch.arange(width, device=picture.device).expand(height, width)
    shift = (-orbit * width * (depth.clamp(0, 1) - 0.5)).round().long()
    target = source + shift
    inside = (target >= 0) & (target < width)
    # The nearest pixel wins: its depth is the high digits of a number, its column the low ones.
    key = ((depth.clamp(0, 1) * 65535).round().long() * width + source).masked_fill(~inside, -1)
    winner = torch.full((height, width), -1, dtype=torch.long, device=picture.device)
    winner.scatter_reduce_(1, target.clamp(0, width - 1), key, "amax")
    known = (winner >= 0).to(picture)
    if not bool(known.any()):
        return picture, known
    column = winner.clamp(min=0) % width
    seen = picture.gather(2, column.expand(channels, height, width))
    # Cracks of a pixel, where a slope is stretched, are not holes.
    return fill(seen, known), grown(grown(known, 1), -1)
