"""Videos that were made elsewhere, and the still picture."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from dc_model.shown import shown

from ..items import Item, ItemError, entries_of_protocol
from ..pairing import AmbiguousName, Names, partner
from ..protocol import Protocol
from ..videos import ClipShape, VideoError, list_videos, read_clip
from .base import Maker, SystemSection, SystemStopped


class FolderSystem(SystemSection):
    """A folder with a video for each clip: of the data set's relative path, of its bare name where
    that is unique, or of the clip's number (`00012.mp4`). by: which of the two, needed where both
    fit. After a run, `clips/true` in its output has the pictures and captions to make them from."""

    kind: Literal["folder"]
    path: Annotated[str, Field(min_length=1)]
    by: Literal["name", "number"] | None = None

    @contextmanager
    def open(self, device: str, protocol: Protocol) -> Iterator[Maker]:
        del device
        folder = Path(self.path)
        try:
            videos = Names(v.relative_to(folder).as_posix() for v in list_videos(folder))
        except VideoError as error:
            raise SystemStopped(str(error)) from error
        sources = Names(entry.key for entry in entries_of_protocol(protocol))
        shape = ClipShape(frames=protocol.frames, resolution=protocol.size)

        def make(item: Item) -> Tensor:
            try:
                return read_clip(folder / self._find(item, sources, videos), shape) * 2 - 1
            except (VideoError, AmbiguousName) as error:
                raise ItemError(str(error)) from error

        yield make

    def _find(self, item: Item, sources: Names, videos: Names) -> str:
        """The clip's video. Raises ItemError, and AmbiguousName where several have the name."""
        source, number = item.clip.key.rsplit(" ", 2)[0], f"{item.number:05d}"

        def look(by: str, path: str, own: Names) -> tuple[str | None, AmbiguousName | None]:
            try:
                return partner(path, own, videos) if self.by in (by, None) else None, None
            except AmbiguousName as error:
                return None, error

        named, unsure = look("name", source, sources)
        numbered, unsure_too = look("number", number, Names([number]))
        # Of a source that is itself called like a clip's number, a file may be either.
        stem = Path(source).stem
        unclear = self.by is None and (named or (stem.isdecimal() and len(stem) == len(number)))
        if numbered and numbered != named and unclear:
            raise ItemError(
                f"{shown(self.path)} has {shown(numbered)} by the number of clip {item.number}, "
                f"and its source is {shown(source)}; set {self.name}.by to number or name."
            )
        found = named or numbered
        if found is None:
            raise (
                unsure
                or unsure_too
                or ItemError(
                    f"{shown(self.path)} has no video {number} or {shown(stem)}; make "
                    "it from the clip's picture and prompt."
                )
            )
        return found


class StillSystem(SystemSection):
    """The first frame, repeated: what a system must do better than."""

    kind: Literal["still"]

    @contextmanager
    def open(self, device: str, protocol: Protocol) -> Iterator[Maker]:
        del device
        yield lambda item: item.clip.frames[:1].expand(protocol.frames, -1, -1, -1)
