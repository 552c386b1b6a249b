"""Folders of videos as clips of one size and length, and clips as lossless videos."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dc_model.preprocess import eight_bit, fit_image
from dc_model.shown import shown
from training.data.entries import files_below
from training.data.video import VIDEO_SUFFIXES, BrokenVideo, read_cut, read_picture
from training.files import write_whole


class VideoError(ValueError):
    """A file that gives no clip; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipShape:
    """How clips are cut: `frames` frames, `stride` apart, from `start`, resized and cropped."""

    frames: int = 16
    stride: int = 1
    start: int = 0
    resolution: tuple[int, int] = (256, 256)


def list_videos(folder: Path) -> list[Path]:
    """Every video below `folder` in a fixed order. Raises VideoError when there is none."""
    found = files_below(folder, lambda path: path.suffix.lower() in VIDEO_SUFFIXES)
    if not found:
        state = "holds no videos" if folder.is_dir() else "is not a folder; expected one of videos"
        raise VideoError(
            f"{shown(folder)} {state}; give one with videos ({', '.join(sorted(VIDEO_SUFFIXES))})."
        )
    return found


def read_clip(path: Path, shape: ClipShape) -> Tensor:
    """One clip `[T, 3, H, W]` in [0, 1]. Raises VideoError if the file is broken or too short."""
    try:
        cut = read_cut(lambda: str(path), lambda _: (shape.start, shape.stride), shape.frames)
    except BrokenVideo as error:
        raise VideoError(f"{shown(path.name)} gives no clip: {error}.") from error
    return torch.stack([_fitted(frame, shape.resolution) for frame in cut.frames])


def read_image(path: Path, resolution: tuple[int, int]) -> Tensor:
    """An image, or a video's first frame: `[3, H, W]` in [0, 1]. Raises VideoError."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return read_clip(path, ClipShape(frames=1, resolution=resolution))[0]
    try:
        return _fitted(read_picture(str(path)), resolution)
    except BrokenVideo as error:
        raise VideoError(f"{shown(path.name)} cannot be decoded ({error}).") from error


def _fitted(frame: Tensor, resolution: tuple[int, int]) -> Tensor:
    """uint8 `[H, W, 3]` to `[3, h, w]` in [0, 1]."""
    return fit_image(frame.permute(2, 0, 1)[None].float() / 255, *resolution, "crop")[0]


def write_video(path: Path, frames: Tensor, rate: int = 8) -> None:
    """`[T, 3, H, W]` in [-1, 1] as a lossless H.264 file, whole or not at all."""
    pixels = eight_bit(frames).permute(0, 2, 3, 1).numpy()
    write_whole(path, lambda part: _encode(part, pixels, rate))


def _encode(path: Path, pixels: NDArray[np.uint8], rate: int) -> None:
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264rgb", rate=rate, options={"crf": "0"})
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "rgb24"
        for frame in pixels:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
