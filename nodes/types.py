"""Wire types of our own."""

from typing import Any, NamedTuple

from comfy_api.latest import io
from torch import Tensor

# A patcher around the query transformer.
Projector = io.Custom("DC_PROJECTOR")
# A tuple of `Keyframe`.
Keyframes = io.Custom("DC_KEYFRAMES")

CATEGORY = "DynamiCrafter"


class Keyframe(NamedTuple):
    """An image `[1, H, W, C]` for one frame of the video; a negative frame counts from the end."""

    frame: int
    image: Tensor


def keyframes(value: Any) -> tuple[Keyframe, ...]:
    """What came over a DC_KEYFRAMES wire; nothing connected is an empty tuple."""
    return tuple(value or ())
