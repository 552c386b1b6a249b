"""Frames of videos side by side in one picture, a row for each video."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..preprocess import fit_image

GAP = 4
# Of a label: what is longer would leave no room for the frames.
MAX_LETTERS = 40
# Of a strip: 800 MB.
MAX_PIXELS = 2**26


def frame_strip(videos: Tensor, columns: int, height: int, labels: Sequence[str] = ()) -> Tensor:
    """`[N, T, 3, H, W]` in [0, 1] to one picture `[3, H', W']`.

    columns: how many frames of each video, evenly chosen with the first and the last; all where
    there are fewer. height: of a frame, px; the width follows. labels: at the left of the rows, in
    their order; a row without one keeps the room. Raises ValueError for more labels than videos,
    and for more than 67 million pixels.
    """
    if len(labels) > len(videos):
        raise ValueError(
            f"{len(labels)} labels came with {len(videos)} videos; write one line for each video."
        )
    count = min(columns, videos.shape[1])
    chosen = torch.linspace(0, videos.shape[1] - 1, count).round().long()
    width = max(1, round(videos.shape[-1] * height / videos.shape[-2]))
    across, down = count * width, len(videos) * (height + GAP) - GAP
    if across * down > MAX_PIXELS:
        raise ValueError(
            f"The strip would have {across} x {down} pixels, more than {MAX_PIXELS // 2**20} "
            "million; choose fewer columns, or a smaller height."
        )
    rows = []
    for number, video in enumerate(videos):
        frames = fit_image(video[chosen].float(), height, width, "stretch").clamp(0, 1)
        row = torch.cat(list(frames), dim=-1)  # [3, height, count * width]
        rows.append(row if number == 0 else F.pad(row, (0, 0, GAP, 0), value=1.0))
    picture = torch.cat(rows, dim=-2)
    if not any(label.strip() for label in labels):
        return picture
    margin = _margin(labels, height, picture.shape[-2]).to(picture)
    return torch.cat([margin, picture], dim=-1)


def _margin(labels: Sequence[str], row: int, height: int) -> Tensor:
    """`[3, height, W]`: each label at the middle of its row, black on white."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(max(10, min(28, row // 6)))
    texts = [text.strip()[:MAX_LETTERS] for text in labels]
    width = round(max(font.getlength(text) for text in texts)) + 2 * GAP
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for number, text in enumerate(texts):
        middle = number * (row + GAP) + row // 2
        draw.text((GAP, middle), text, fill="black", font=font, anchor="lm")
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255
