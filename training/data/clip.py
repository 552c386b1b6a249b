"""What every data set yields."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Clip:
    """A captioned clip.

    key: the same for the same frames, so encoded ones can be kept. frames: `[T, 3, H, W]` in
    [-1, 1]. speed: frames per second or frame stride, as the variant wants it. motion_caption: the
    caption's motion words alone, or the caption.
    """

    key: str
    frames: Tensor
    caption: str
    motion_caption: str
    fps: float
    frame_stride: int


class ClipSource(Protocol):
    """An indexed set of clips. `draw` seeds the choices of an access (stride, start).

    skipped: how many accesses met a broken file, so far.
    """

    @property
    def skipped(self) -> int: ...

    def __len__(self) -> int: ...

    def load(self, index: int, draw: int) -> Clip: ...
