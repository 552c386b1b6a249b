"""What every system is given: true clips with captions, cut once and kept as lossless videos.

A system sees the kept clip, so all see the same picture, also after a break and in other processes.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dc_model.preprocess import eight_bit
from dc_model.shown import shown
from training.config import DataConfig
from training.data.clip import Clip, ClipSource
from training.data.entries import Entry, folder_entries, table_entries
from training.data.order import item_of, sample_seed
from training.data.sources import VideoSource
from training.files import write_text, write_whole

from .command import EvaluationError
from .datasets import msrvtt_entries, ucf101_entries
from .protocol import Protocol
from .videos import ClipShape, VideoError, read_clip, write_video


class ItemError(EvaluationError):
    """One clip cannot be made or measured; the others can."""


@dataclass(frozen=True, slots=True)
class Item:
    """One task: animate `clip.frames[0]` by `clip.caption`. video: where the true clip lies."""

    number: int
    clip: Clip
    seed: int
    video: Path

    def picture(self) -> Path:
        """The first frame as a PNG file beside the clip, for what takes files."""
        path = self.video.with_suffix(".png")
        if not path.exists():
            write_whole(path, lambda part: _save_picture(part, self.clip.frames[0]))
        return path


def _save_picture(path: Path, frame: Tensor) -> None:
    from PIL import Image

    pixels = eight_bit(frame).permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path, format="PNG")


@dataclass(frozen=True, slots=True)
class Task:
    """What a made clip is measured against. video: the true clip, its first frame the picture."""

    video: Path
    prompt: str


@dataclass
class Items:
    """The protocol's clips by number, below `folder`. open: the data set, opened when needed."""

    folder: Path
    protocol: Protocol
    open: Callable[[], ClipSource]
    _source: ClipSource | None = None

    def video(self, number: int) -> Path:
        return self.folder / f"{number:05d}.mp4"

    def task(self, number: int) -> Task:
        """Of a clip that is cut."""
        video = self.video(number)
        return Task(video, self._noted(video)["caption"])

    def get(self, number: int) -> Item:
        """The clip of a number. Raises ItemError where it has no caption or is damaged."""
        video = self.video(number)
        note = video.with_suffix(".json")
        if not note.exists():
            self._cut(number, video, note)
        noted = self._noted(video)
        shape = ClipShape(frames=self.protocol.frames, resolution=self.protocol.size)
        try:
            clip = Clip(frames=read_clip(video, shape) * 2 - 1, **noted)
        except VideoError as error:
            raise ItemError(f"{error} To cut it again, delete {shown(note)}.") from error
        if not clip.caption.strip():
            raise ItemError(f"Clip {number} ({shown(clip.key)}) has no caption; write one.")
        if self.protocol.conditioning_stride is not None:
            clip = replace(clip, frame_stride=self.protocol.conditioning_stride)
        return Item(number, clip, sample_seed(self.protocol.seed, number, purpose=1), video)

    @staticmethod
    def _noted(video: Path) -> dict[str, Any]:
        return json.loads(video.with_suffix(".json").read_text(encoding="utf-8"))

    def _cut(self, number: int, video: Path, note: Path) -> None:
        if self._source is None:
            self._source = self.open()
        seed = self.protocol.seed
        index = item_of(seed, number, len(self._source))
        clip = self._source.load(index, sample_seed(seed, number))
        self.folder.mkdir(parents=True, exist_ok=True)
        write_video(video, clip.frames)
        fields = ("key", "caption", "motion_caption", "fps", "frame_stride")
        text = json.dumps({name: getattr(clip, name) for name in fields}, ensure_ascii=False)
        # The note comes last: with it the clip counts as cut.
        write_text(note, text)


def open_data(protocol: Protocol) -> tuple[ClipSource, str]:
    """The data set and its name with a hash of its list. Raises EvaluationError."""
    stride = protocol.stride
    entries = entries_of_protocol(protocol)
    if len(entries) < protocol.clips:
        raise EvaluationError(
            f"{shown(protocol.data.path)} holds {len(entries)} videos, the protocol wants "
            f"{protocol.clips} clips; set protocol.clips to {len(entries)} or give more videos."
        )
    config = DataConfig(
        size=protocol.size, num_frames=protocol.frames, frame_strides=(stride, stride)
    )
    listed = "\n".join(f"{entry.key}|{entry.caption}" for entry in entries)
    digest = hashlib.sha256(listed.encode()).hexdigest()[:8]
    return VideoSource(entries, config), f"{protocol.data.kind}, {len(entries)} videos ({digest})"


def entries_of_protocol(protocol: Protocol) -> list[Entry]:
    """The data set's captioned videos. Raises EvaluationError where it does not exist."""
    kind, path = protocol.data.kind, Path(protocol.data.path)
    if not protocol.data.path or not path.exists():
        raise EvaluationError(
            f"protocol.data.path is '{shown(protocol.data.path)}', which does not exist; give the "
            f"{'file' if kind == 'table' else 'folder'} of the data set."
        )
    if kind == "ucf101":
        return ucf101_entries(path)
    if kind == "msrvtt":
        return msrvtt_entries(path, protocol.seed)
    if kind == "table":
        return table_entries(path)
    return folder_entries(path, protocol.frames)
