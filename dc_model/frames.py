"""Frames as part of the batch, and back.

A video is `[B, C, T, H, W]`; layers that know no time take its frames as `[B*T, C, H, W]`, frame
fastest.
"""

from collections.abc import Sequence

from torch import Tensor

# Image tokens that the query transformer makes for each frame.
QUERIES_PER_FRAME = 16


def fold_frames(video: Tensor) -> Tensor:
    """Frames into the batch, frame fastest: `[B, C, T, H, W]` to `[B*T, C, H, W]`.

    Raises ValueError for another number of axes.
    """
    if video.ndim != 5:
        raise ValueError(f"A video has shape [B, C, T, H, W]; found {list(video.shape)}.")
    return video.transpose(1, 2).flatten(0, 1)  # [B*T, C, H, W]


def unfold_frames(frames: Tensor, num_frames: int) -> Tensor:
    """Inverse of `fold_frames`: `[B*T, C, H, W]` to `[B, C, T, H, W]`.

    Raises ValueError if the batch is not a whole number of videos.
    """
    check_num_frames(num_frames)
    if frames.ndim != 4 or len(frames) == 0 or len(frames) % num_frames:
        raise ValueError(
            f"Found frames of shape {list(frames.shape)}; videos of {num_frames} frames need "
            f"[N*{num_frames}, C, H, W]. Change the length or the number of images."
        )
    return frames.unflatten(0, (-1, num_frames)).transpose(1, 2)  # [B, C, T, H, W]


def frame_index(given: int, num_frames: int, what: str = "Frame") -> int:
    """A frame counted from the start; a negative one counts from the end.

    Raises ValueError, which begins with `what`, for a frame outside the video.
    """
    if not -num_frames <= given < num_frames:
        raise ValueError(
            f"{what} {given} is outside the video; with {num_frames} frames choose "
            f"{-num_frames} to {num_frames - 1}."
        )
    return given % num_frames


def frame_indices(given: Sequence[int], num_frames: int, what: str = "Frame") -> list[int]:
    """`frame_index` of each. Raises ValueError, too, where two are the same frame."""
    found: dict[int, int] = {}
    for number in given:
        frame = frame_index(number, num_frames, what)
        if frame in found:
            raise ValueError(
                f"{what}s {found[frame]} and {number} are both frame {frame}; keep one of them."
            )
        found[frame] = number
    return list(found)


def check_num_frames(num_frames: int) -> None:
    """Raises ValueError for a length that is not positive."""
    if num_frames < 1:
        raise ValueError(f"The video's length is {num_frames} frames; it needs at least 1.")
