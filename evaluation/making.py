"""Makes what is missing: each system's clip for each number, whole files only.

Work can stop anywhere and start again, here or in another process over the same folder: what is
there stays, and a clip follows from its number alone. A clip that fails is named and left out; a
system that fails three times in a row, or loses its server, is left for the next start.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dc_model.preprocess import fit_image
from dc_model.shown import shown

from .comparison import Comparison
from .items import Item, ItemError, Items
from .protocol import Protocol
from .store import require_same_settings
from .systems import System
from .systems.base import Maker, SystemStopped
from .videos import write_video

log = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3


@dataclass
class Making:
    """The clips of a run. failures: by system, one sentence each, in order."""

    folder: Path
    comparison: Comparison
    items: Items
    failures: dict[str, list[str]] = field(default_factory=dict)

    @property
    def protocol(self) -> Protocol:
        return self.comparison.protocol

    def clip(self, name: str, number: int) -> Path:
        return self.folder / "clips" / name / f"{number:05d}.mp4"

    def cut(self, numbers: Sequence[int]) -> list[int]:
        """Cut the true clips; the numbers of those that serve."""
        serve = []
        for number in numbers:
            try:
                self.items.get(number)
                serve.append(number)
            except ItemError as error:
                self._fail("true", str(error))
        return serve

    def make(self, system: System, numbers: Sequence[int], device: str) -> None:
        """Make the clips of one system that are missing."""
        require_same_settings(self.folder / "clips" / system.name, system.settings())
        missing = [n for n in numbers if not self.clip(system.name, n).exists()]
        if not missing:
            return
        progress = _Progress(system.name, len(missing))
        try:
            with ExitStack() as stack:
                maker = _opened(system, device, self.protocol, stack)
                self._make_all(system, missing, maker, progress)
        except SystemStopped as error:
            self._fail(system.name, str(error))

    def _make_all(
        self, system: System, missing: Sequence[int], maker: Maker, progress: "_Progress"
    ) -> None:
        row = 0
        for number in missing:
            try:
                item = self.items.get(number)
                frames = fitted(_made(system.name, maker, item), item, self.protocol)
                write_video(self.clip(system.name, number), frames)
                row = 0
            except ItemError as error:
                self._fail(system.name, str(error))
                row += 1
                if row == FAILURES_IN_A_ROW:
                    raise SystemStopped(
                        f"{shown(system.name)} failed {row} times in a row, so the rest was not "
                        "tried; look at the failures above and start again."
                    ) from error
            progress.step()

    def _fail(self, name: str, sentence: str) -> None:
        log.warning("%s", sentence)
        self.failures.setdefault(name, []).append(sentence)


# Weights, tokenizers and networks make libraries raise anything; the other systems continue.
def _opened(system: System, device: str, protocol: Protocol, stack: ExitStack) -> Maker:
    """Raises SystemStopped, whatever was raised."""
    try:
        return stack.enter_context(system.open(device, protocol))
    except SystemStopped:
        raise
    except Exception as error:
        raise SystemStopped(
            f"{shown(system.name)} cannot be opened ({_reason(error)}); check its settings and "
            "files, then start again."
        ) from error


def _made(name: str, maker: Maker, item: Item) -> Tensor:
    """Raises SystemStopped, or else ItemError, whatever was raised."""
    try:
        return maker(item)
    except (ItemError, SystemStopped):
        raise
    except Exception as error:
        raise ItemError(
            f"{shown(name)} fails on clip {item.number} ({_reason(error)}); check its settings, "
            "or give it fewer frames, a smaller size or another device."
        ) from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {shown(error, 300)}"


def fitted(frames: Tensor, item: Item, protocol: Protocol) -> Tensor:
    """The protocol's frames and size of a made clip, `[T, 3, H, W]`. Raises ItemError."""
    if frames.ndim != 4 or frames.shape[1] != 3 or len(frames) < protocol.frames:
        raise ItemError(
            f"Clip {item.number} came out as {list(frames.shape)}; expected at least "
            f"{protocol.frames} frames, [T, 3, H, W]. Make the system's videos that long, or lower "
            "protocol.frames."
        )
    if not bool(torch.isfinite(frames).all()):
        raise ItemError(
            f"Clip {item.number} holds NaN or infinite values; check the system's settings."
        )
    frames = frames[: protocol.frames].float()
    if tuple(frames.shape[2:]) != protocol.size:
        frames = fit_image((frames + 1) / 2, *protocol.size, "crop") * 2 - 1
    return frames


class _Progress:
    """Says how many clips are made and how long the rest will take."""

    def __init__(self, name: str, total: int):
        self.name, self.total, self.done = name, total, 0
        self.began = time.monotonic()

    def step(self) -> None:
        self.done += 1
        left = (time.monotonic() - self.began) / self.done * (self.total - self.done)
        log.info("%s: %d of %d, %s left", shown(self.name), self.done, self.total, _spoken(left))


def _spoken(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{round(seconds)} s" if seconds < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
