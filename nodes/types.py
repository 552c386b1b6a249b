"""Wire types of our own."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from comfy_api.latest import io
from torch import Tensor

# A patcher around the query transformer.
Projector = io.Custom("DC_PROJECTOR")
# A tuple of `Keyframe`.
Keyframes = io.Custom("DC_KEYFRAMES")

# A tuple of `Shot`.
Shots = io.Custom("DC_SHOTS")

CATEGORY = "DynamiCrafter"


class Keyframe(NamedTuple):
    """An image `[1, H, W, C]` for one frame of the video; a negative frame counts from the end."""

    frame: int
    image: Tensor


class Shot(NamedTuple):
    """One shot; without an image `[1, H, W, C]` it goes on from the shot before."""

    prompt: str
    length: int
    fps: int
    image: Tensor | None


def frames_per_video(latent: Mapping[str, Any]) -> int:
    """T of a LATENT `[N*T, 4, h, w]`; all of its rows where its `num_frames` does not divide them.

    Stock nodes that pick or join frames leave the number as it was.
    """
    rows = latent["samples"].shape[0]
    frames = latent.get("num_frames")
    return frames if isinstance(frames, int) and frames > 0 and rows % frames == 0 else rows
