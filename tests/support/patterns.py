"""Pictures whose every pixel counts."""

import torch
from torch import Tensor


def checkerboard(height: int, width: int, square: int = 3) -> Tensor:
    """uint8 `[H, W, 3]` whose squares show it when a cut moves by part of a pixel.

    The channels have squares of `square`, `square + 1` and `square + 2` pixels.
    """
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    boards = [(rows // side + columns // side) % 2 for side in range(square, square + 3)]
    return (torch.stack(boards, dim=-1) * 255).to(torch.uint8)
