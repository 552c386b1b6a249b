"""A prompt per segment of the video: parsing, and the text embedding of every frame.

The U-Net's spatial cross-attention works frame by frame, so each frame can listen to its own text.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..frames import frame_index
from ..shown import shown
from .foreign import refuse_other_notations
from .syntax import read_entries

# How often prompts of different lengths may be repeated to meet; the host's own limit is 4 as well.
MAX_REPEATS = 4


class Segment(NamedTuple):
    """A prompt and the frame from which it holds."""

    start: int
    prompt: str


def parse_schedule(text: str, num_frames: int) -> list[Segment]:
    """Segments of a prompt schedule, in order, the first from frame 0.

    text: one prompt per line, empty lines ignored. `frame: prompt` (or another form that
    `read_entries` knows) sets where a segment starts, a negative frame counts from the end; without
    any number the segments share the frames evenly.
    Raises ValueError for an empty schedule, lines that are not understood, notations of other
    programs, numbers on some lines only, and frames that are outside the video or not ascending.
    """
    entries = read_entries(text, num_frames)
    if not entries:
        raise ValueError("The prompt schedule is empty; write one prompt per line.")
    prompts = [entry.prompt for entry in entries]
    for prompt in prompts:
        refuse_other_notations(prompt)
    if all(entry.frame is None for entry in entries):
        if len(prompts) > num_frames:
            raise ValueError(
                f"The prompt schedule has {len(prompts)} lines for {num_frames} frames; give at "
                "most one prompt per frame."
            )
        starts = [i * num_frames // len(prompts) for i in range(len(prompts))]
        return [Segment(*pair) for pair in zip(starts, prompts, strict=True)]
    segments = []
    for frame, prompt in entries:
        if frame is None:
            raise ValueError(
                f"The line '{shown(prompt, 60)}' of the prompt schedule has no frame, while others "
                "do; write `frame: prompt` on every line or on none."
            )
        start = frame_index(frame, num_frames, "The prompt schedule's frame")
        segments.append(Segment(start, prompt))
    for before, segment in pairwise(segments):
        if before.start >= segment.start:
            raise ValueError(
                f"The prompt schedule has frame {segment.start} after frame {before.start}; list "
                "the frames in ascending order, each once."
            )
    return [segments[0]._replace(start=0), *segments[1:]]


def is_numbered(text: str, num_frames: int) -> bool:
    """Whether a prompt of any other node is a schedule: two or more entries, all with a frame."""
    try:
        entries = read_entries(text, num_frames)
    except ValueError:
        return False
    return len(entries) > 1 and all(entry.frame is not None for entry in entries)


def _listed(numbers: Sequence[int], most: int = 6) -> str:
    dots = ", ..." if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + dots


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
    attention over them as it was. ValueError where that would be more than `MAX_REPEATS` times the
    longest.
    """
    lengths = sorted({text.shape[1] for text in texts})
    length = math.lcm(*lengths)
    if length > MAX_REPEATS * lengths[-1]:
        raise ValueError(
            f"The prompt schedule has prompts of {_listed(lengths)} tokens, which have no common "
            f"length below {length}; bring the long ones to the same length, best below "
            f"{lengths[0]} tokens (about one for each word)."
        )
    stacked = torch.cat([text.repeat(1, length // text.shape[1], 1) for text in texts])
    return torch.einsum("tk,klc->tlc", weights.to(stacked), stacked)
