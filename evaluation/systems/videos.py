"""Videos that were made elsewhere, and the still picture."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from dc_model.shown import shown

from ..items import Item, ItemError
from ..protocol import Protocol
from ..videos import ClipShape, VideoError, list_videos, read_clip
from .base import Maker, SystemSection, SystemStopped


class FolderSystem(SystemSection):
    """A folder with a video for each clip, of the clip's number (`00012.mp4`) or of the name that
    the data set's video has. After a run, `clips/true` in its output has the pictures and captions
    to make them from."""

    kind: Literal["folder"]
    path: Annotated[str, Field(min_length=1)]

    @contextmanager
    def open(self, device: str, protocol: Protocol) -> Iterator[Maker]:
        del device
        try:
            videos = {video.stem: video for video in list_videos(Path(self.path))}
        except VideoError as error:
            raise SystemStopped(str(error)) from error
        shape = ClipShape(frames=protocol.frames, resolution=protocol.size)

        def make(item: Item) -> Tensor:
            source = Path(item.clip.key.rsplit(" ", 2)[0]).stem
            found = videos.get(f"{item.number:05d}") or videos.get(source)
            if found is None:
                raise ItemError(
                    f"{shown(self.path)} has no video {item.number:05d} or {shown(source)}; make "
                    "it from the clip's picture and prompt."
                )
            try:
                return read_clip(found, shape) * 2 - 1
            except VideoError as error:
                raise ItemError(str(error)) from error

        yield make


class StillSystem(SystemSection):
    """The first frame, repeated: what a system must do better than."""

    kind: Literal["still"]

    @contextmanager
    def open(self, device: str, protocol: Protocol) -> Iterator[Maker]:
        del device
        yield lambda item: item.clip.frames[:1].expand(protocol.frames, -1, -1, -1)
