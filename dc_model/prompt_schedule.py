"""A prompt per segment of the video: parsing, and the text embedding of every frame.

The U-Net's spatial cross-attention works frame by frame, so each frame can listen to its own text.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_NUMBERED = re.compile(r"^\s*(-?\d+)\s*:\s*(.*)$")


class Segment(NamedTuple):
    """A prompt and the frame from which it holds."""

    start: int
    prompt: str


def parse_schedule(text: str, num_frames: int) -> list[Segment]:
    """Segments of a prompt schedule, in order, the first from frame 0.

    text: one prompt per line, empty lines ignored. `frame: prompt` sets where a segment starts, a
    negative frame counts from the end; without any number the segments share the frames evenly.
    Raises ValueError for an empty schedule, numbers on some lines only, and frames that are
    outside the video or not ascending.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("The prompt schedule is empty; write one prompt per line.")
    matches = [_NUMBERED.match(line) for line in lines]
    if not any(matches):
        if len(lines) > num_frames:
            raise ValueError(
                f"The prompt schedule has {len(lines)} lines for {num_frames} frames; give at most "
                "one prompt per frame."
            )
        starts = [i * num_frames // len(lines) for i in range(len(lines))]
        return [Segment(*pair) for pair in zip(starts, lines, strict=True)]
    segments = []
    for line, match in zip(lines, matches, strict=True):
        if match is None:
            raise ValueError(
                f"The line {line!r} of the prompt schedule has no frame, while others do; write "
                "`frame: prompt` on every line or on none."
            )
        segments.append(Segment(_frame(int(match[1]), num_frames), match[2]))
    starts = [segment.start for segment in segments]
    if starts != sorted(set(starts)):
        raise ValueError(
            f"The prompt schedule starts its segments at frames {starts}; list them in ascending "
            "order, each once."
        )
    return [segments[0]._replace(start=0), *segments[1:]]


def _frame(given: int, num_frames: int) -> int:
    frame = given + num_frames if given < 0 else given
    if not 0 <= frame < num_frames:
        raise ValueError(
            f"The prompt schedule names frame {given}; with {num_frames} frames choose "
            f"{-num_frames} to {num_frames - 1}."
        )
    return frame


def segment_weights(starts: Sequence[int], num_frames: int, blend_frames: int) -> Tensor:
    """Share of every segment in every frame: float32 `[T, K]`, rows sum to 1.

    starts: first frame of each of K segments, ascending, the first 0. blend_frames: length of the
    linear cross-fade around each start; 0 switches at once.
    """
    centre = torch.arange(num_frames) + 0.5
    reached = [torch.ones(num_frames)]
    for start in starts[1:]:
        if blend_frames:
            reached.append(((centre - start) / blend_frames + 0.5).clamp(0, 1))
        else:
            reached.append((centre > start).float())
    reached.append(torch.zeros(num_frames))
    return -torch.stack(reached, dim=1).diff(dim=1)  # [T, K]


def frame_texts(texts: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Text tokens of every frame `[T, L, C]`, mixed by `weights` `[T, K]`.

    texts: K embeddings `[1, L_k, C]`. Unlike lengths are repeated up to a common one, which leaves
    attention over them as it was.
    """
    length = math.lcm(*(text.shape[1] for text in texts))
    stacked = torch.cat([text.repeat(1, length // text.shape[1], 1) for text in texts])
    return torch.einsum("tk,klc->tlc", weights.to(stacked), stacked)
