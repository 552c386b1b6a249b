"""A cut-out of a picture moved along a path over the filled ground: a rough reference video.

Source: docs/motion.md#drag; Time-to-Move (arXiv 2511.08633), cut and drag.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .path import SEEN, middle
from .warp import fill, grown, place

# Scales that a path may ask for.
SCALES = (0.05, 20.0)


def drag(
    picture: Tensor,
    mask: Tensor,
    poses: Tensor,
    on_frame: Callable[[], object] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """The reference video `[T, C, H, W]` and what moves in it `[T, H, W]`, both in [0, 1].

    picture: `[C, H, W]`; mask: `[H, W]`, 1 on what moves. poses: `[T, 4]`, each frame's x, y in
    pixels of the middle of what moves, its scale and its turn in degrees, clockwise.
    on_frame: called before each frame.

    A frame whose pose is the picture's own is the picture itself. Raises ValueError for an empty or
    full mask and for scales out of 0.05 to 20.
    """
    low, high = SCALES
    scales = poses[:, 2]
    if not bool(((scales >= low) & (scales <= high)).all()):
        raise ValueError(
            f"The path scales by {float(scales.min()):g} to {float(scales.max()):g}; choose "
            f"{low:g} to {high:g}."
        )
    home = middle(mask)
    # Mixed pixels at the outline belong to neither.
    ground = fill(picture, 1 - grown((mask > SEEN).to(picture), 2))
    inside = (mask > 0.98).to(picture)
    whole = fill(picture, inside if bool(inside.any()) else (mask >= mask.max()).to(picture))
    frames, masks = [], []
    for x, y, scale, turn in poses.tolist():
        on_frame()
        if _is_home((x, y, scale, turn), home):
            frames.append(picture)
            masks.append(mask.to(picture))
            continue
        moved = place(whole, home, (x, y), scale, turn, padding="border")
        cover = place(mask[None].to(picture), home, (x, y), scale, turn)[0]
        frames.append(torch.lerp(ground, moved, cover))
        masks.append(cover)
    return torch.stack(frames), torch.stack(masks)


def _is_home(pose: tuple[float, float, float, float], home: tuple[float, float]) -> bool:
    own = (*home, 1.0, 0.0)
    return all(abs(a - b) < 1e-3 for a, b in zip(pose, own, strict=True))
