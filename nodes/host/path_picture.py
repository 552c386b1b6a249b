"""A picture with the path drawn over it, with Pillow."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

LINE, EDGE, START = (255, 92, 40), (255, 255, 255), (40, 170, 90)


def path_picture(picture: Tensor, middles: Tensor) -> Tensor:
    """`[1, H, W, 3]`: a line along `middles` `[T, 2]` (x, y) and a dot for each frame.

    picture: `[H, W, 3]` in [0, 1]. The first dot is green, the last one large.
    """
    pixels = (picture.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    drawn = Image.fromarray(pixels)
    pen = ImageDraw.Draw(drawn)
    unit = max(1.0, min(drawn.size) / 160)
    points = [(x, y) for x, y in middles.tolist()]
    if len(points) > 1:
        pen.line(points, EDGE, width=round(3 * unit), joint="curve")
        pen.line(points, LINE, width=max(1, round(1.5 * unit)), joint="curve")
    for i, (x, y) in enumerate(points):
        radius = unit * (3.5 if i in (0, len(points) - 1) else 1.8)
        box = (x - radius, y - radius, x + radius, y + radius)
        pen.ellipse(box, START if i == 0 else LINE, EDGE, width=max(1, round(unit / 2)))
    return torch.from_numpy(np.asarray(drawn, dtype=np.float32) / 255)[None]
