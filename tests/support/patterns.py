"""Pictures whose every pixel counts."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def checkerboard(height: int, width: int, square: int = 3) -> Tensor:
    """uint8 `[H, W, 3]` whose squares show it when a cut moves by part of a pixel.

    The channels have squares of `square`, `square + 1` and `square + 2` pixels.
    """
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    boards = [(rows // side + columns // side) % 2 for side in range(square, square + 3)]
    return (torch.stack(boards, dim=-1) * 255).to(torch.uint8)


def covering(image: Tensor, height: int, width: int) -> Tensor:
    """One image `[1, H, W, 3]` that covers the size, its centre cut out, by Pillow alone."""
    rows, columns = image.shape[1:3]
    scale = max(height / rows, width / columns)
    tall, wide = int(rows * scale), int(columns * scale)
    top, left = round((tall - height) / 2), round((wide - width) / 2)
    planes = [
        Image.fromarray(plane.numpy()).resize((wide, tall), Image.Resampling.BILINEAR)
        for plane in image[0].movedim(-1, 0)
    ]
    whole = torch.from_numpy(np.stack([np.asarray(plane) for plane in planes], axis=-1))
    return whole[None, top : top + height, left : left + width]
