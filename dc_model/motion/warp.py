"""Pictures moved, scaled and turned, and holes filled from what is around them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def fill(picture: Tensor, known: Tensor) -> Tensor:
    """A picture `[C, H, W]` whose unknown places are a smooth continuation of the known ones.

    known: `[H, W]` in [0, 1], what lies between is mixed. Known places stay as they are. Pyramid:
    each level fills the holes of the finer one. Raises ValueError where nothing is known.
    """
    if not bool(known.any()):
        raise ValueError("Nothing of the picture is left to fill it from; choose a smaller mask.")
    weight = known[None, None].to(picture)
    return _filled(picture[None] * weight, weight)[0]


def _filled(colour: Tensor, weight: Tensor) -> Tensor:
    """colour: `[1, C, H, W]`, times `weight` `[1, 1, H, W]`."""
    height, width = colour.shape[-2:]
    if bool((weight >= 1).all()):
        return colour
    if max(height, width) == 1:
        return colour / weight
    both = F.avg_pool2d(
        torch.cat([colour, weight], dim=1), 2, ceil_mode=True, count_include_pad=False
    )
    # A place that any known one falls into counts in full, else the fill would fade.
    small, share = both[:, :-1], both[:, -1:]
    scale = torch.where(share > 0, 1 / share.clamp(min=1e-12), torch.zeros_like(share))
    coarse = _filled(small * scale, (share > 0).to(share))
    spread = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return colour + (1 - weight) * spread


def place(
    picture: Tensor,
    source: tuple[float, float],
    target: tuple[float, float],
    scale: float,
    turn: float,
    padding: str = "zeros",
) -> Tensor:
    """`picture` `[C, H, W]` with its point `source` at `target`, scaled and turned around it.

    Points are (x, y) in pixels, the picture's corner being 0, 0; turn in degrees, clockwise;
    scale above 0. padding: what is outside, "zeros" or "border". Bilinear.
    """
    height, width = picture.shape[-2:]
    angle = math.radians(turn)
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    across = torch.arange(width, device=picture.device) + 0.5 - target[0]
    down = torch.arange(height, device=picture.device)[:, None] + 0.5 - target[1]
    x = source[0] + cos * across + sin * down
    y = source[1] - sin * across + cos * down
    grid = torch.stack([x * 2 / width - 1, y * 2 / height - 1], dim=-1)[None]  # [1, H, W, 2]
    moved = F.grid_sample(
        picture[None], grid.to(picture), mode="bilinear", padding_mode=padding, align_corners=False
    )
    return moved[0]


def grown(masks: Tensor, pixels: int) -> Tensor:
    """Masks `[..., H, W]` in [0, 1] that reach `pixels` further; a negative number shrinks."""
    if pixels < 0:
        return 1 - grown(1 - masks, -pixels)
    padded = F.pad(masks, (pixels,) * 4)
    return _highest(_highest(padded, 2 * pixels + 1, -1), 2 * pixels + 1, -2)


def _highest(values: Tensor, count: int, dim: int) -> Tensor:
    """The highest of each `count` neighbours, by doubling: wide windows cost little more."""
    reached = 1
    while reached < count:
        step = min(reached, count - reached)
        rest = values.shape[dim] - step
        values = torch.maximum(values.narrow(dim, 0, rest), values.narrow(dim, step, rest))
        reached += step
    return values
