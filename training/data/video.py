"""Decoding clips from video files by PyAV: random stride and start, resize and crop."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dc_model.preprocess import fit_image

VIDEO_SUFFIXES = {".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v"}
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


class BrokenVideo(ValueError):  # noqa: N818 - a state of the data, counted, not an error
    """A file that cannot give a clip."""


def decode_frames(source: Any, first: int, stride: int, count: int) -> tuple[Tensor, float]:
    """`count` frames from number `first` on, `stride` apart, and the file's frame rate.

    source: a path or a binary file. Returns uint8 `[T, H, W, 3]`. Raises BrokenVideo when the file
    cannot be decoded or is too short.
    """
    import av
    from av.error import FFmpegError

    wanted = {first + i * stride for i in range(count)}
    kept: list[Tensor] = []
    try:
        with av.open(source) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 0)
            for i, frame in enumerate(container.decode(stream)):
                if i in wanted:
                    kept.append(torch.from_numpy(frame.to_ndarray(format="rgb24")))
                if len(kept) == count:
                    break
    except (FFmpegError, IndexError, OSError) as error:
        raise BrokenVideo(_reason(error)) from error
    if len(kept) < count:
        raise BrokenVideo(f"{len(kept)} of {count} frames at stride {stride}")
    return torch.stack(kept), rate


def frame_count(source: Any) -> int:
    """Frames in a file, by its header or else by its packets. Raises BrokenVideo."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(source) as container:
            stream = container.streams.video[0]
            return stream.frames or sum(1 for p in container.demux(stream) if p.size)
    except (FFmpegError, IndexError, OSError) as error:
        raise BrokenVideo(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Without the number and the path that operating system errors carry."""
    return getattr(error, "strerror", None) or str(error)


def draw_window(frames: int, count: int, strides: tuple[int, int], draw: int) -> tuple[int, int]:
    """(first, stride) uniform among the strides that fit. Raises BrokenVideo if none does."""
    random = np.random.default_rng(draw)
    low, high = strides
    # A single frame, as of a set of pictures, fits at any stride.
    longest = high if count == 1 else (frames - 1) // (count - 1)
    if longest < low:
        raise BrokenVideo(f"{frames} frames do not hold {count} at stride {low}")
    stride = int(random.integers(low, min(high, longest) + 1))
    first = int(random.integers(frames - (count - 1) * stride))
    return first, stride


def fit_clip(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 `[T, H, W, 3]` to `[T, 3, h, w]` in [-1, 1]: cover the size, cut the centre."""
    video = frames.permute(0, 3, 1, 2).float() / 255  # [T, 3, H, W]
    return fit_image(video, *size, "crop") * 2 - 1


def is_clip(path: Path, num_frames: int) -> bool:
    """Whether a file, by its suffix, is a video, or a picture where one frame is enough."""
    suffix = path.suffix.lower()
    return suffix in VIDEO_SUFFIXES or (num_frames == 1 and suffix in PICTURE_SUFFIXES)
