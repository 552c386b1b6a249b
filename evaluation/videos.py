"""Folders of videos as clips of one size and length, and clips as lossless videos."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dc_model.preprocess import eight_bit, fit_image

from .store import write_whole

SUFFIXES = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".gif")


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
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        state = "holds no videos" if folder.is_dir() else "is no folder; expected one with videos"
        raise VideoError(f"{folder} {state} ({', '.join(SUFFIXES)}).")
    return found


def _frames(path: Path) -> Iterator[Tensor]:
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield torch.from_numpy(frame.to_ndarray(format="rgb24"))
    except (FFmpegError, IndexError, OSError) as error:
        raise VideoError(f"{path.name} cannot be decoded ({error}).") from error


def read_clip(path: Path, shape: ClipShape) -> Tensor:
    """One clip `[T, 3, H, W]` in [0, 1]. Raises VideoError if the file is broken or too short."""
    wanted = range(shape.start, shape.start + shape.frames * shape.stride, shape.stride)
    kept: list[Tensor] = []
    for i, frame in enumerate(_frames(path)):
        if i in wanted:
            kept.append(frame)
        if len(kept) == shape.frames:
            break
    if len(kept) < shape.frames:
        raise VideoError(
            f"{path.name} gives {len(kept)} of {shape.frames} frames at stride {shape.stride}."
        )
    video = torch.stack(kept).permute(0, 3, 1, 2).float() / 255  # [T, 3, H, W]
    return fit_image(video, *shape.resolution, "crop")


def read_image(path: Path, resolution: tuple[int, int]) -> Tensor:
    """An image, or a video's first frame: `[3, H, W]` in [0, 1]. Raises VideoError."""
    if path.suffix.lower() in SUFFIXES:
        return read_clip(path, ClipShape(frames=1, resolution=resolution))[0]
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise VideoError(f"{path.name} cannot be decoded ({error}).") from error
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255  # [1, 3, H, W]
    return fit_image(image, *resolution, "crop")[0]


def write_video(path: Path, frames: Tensor) -> None:
    """`[T, 3, H, W]` in [-1, 1] as a lossless H.264 file, whole or not at all."""
    pixels = eight_bit(frames).permute(0, 2, 3, 1).numpy()
    write_whole(path, lambda part: _encode(part, pixels))


def _encode(path: Path, pixels: NDArray[np.uint8]) -> None:
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264rgb", rate=8, options={"crf": "0"})
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "rgb24"
        for frame in pixels:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
