"""Clips of a data set. A broken or too short file is counted; another clip takes its place."""

import logging
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from dc_model.shown import shown

from ..config import ConfigError, DataConfig
from .clip import Clip, ClipSource
from .entries import Entry, folder_entries, shard_entries, table_entries
from .order import sample_seed
from .video import (
    BrokenVideo,
    Cut,
    Timeline,
    draw_window,
    fit_clip,
    is_picture,
    read_cut,
    read_picture,
)

log = logging.getLogger(__name__)

MAX_REPLACEMENTS = 100
# Frame times that a process remembers, 8 bytes each; reading them takes a pass over a file.
MAX_REMEMBERED = 10_000_000


@dataclass
class VideoSource:
    """Clips of a list of videos. skipped: how many accesses met a broken file."""

    entries: list[Entry]
    config: DataConfig
    skipped: int = 0
    _broken: set[str] = field(default_factory=set)
    _timelines: dict[str, Timeline] = field(default_factory=dict)
    _remembered: int = 0

    def __len__(self) -> int:
        return len(self.entries)

    def load(self, index: int, draw: int) -> Clip:
        """The clip `index`, or the next readable one. Raises ConfigError when none can be read."""
        tried = min(len(self.entries), MAX_REPLACEMENTS)
        reason = ""
        for offset in range(tried):
            entry = self.entries[(index + offset) % len(self.entries)]
            try:
                return self._clip(entry, draw)
            except BrokenVideo as error:
                reason = f"{shown(entry.key)}: {error}"
                self.skipped += 1
                if entry.key not in self._broken:
                    self._broken.add(entry.key)
                    log.warning("Skipped %s.", reason)
        raise ConfigError(
            f"None of {tried} videos of data.path gives {self.config.num_frames} frames; the last "
            f"is {reason}. Check the files, data.num_frames and data.frame_strides."
        )

    def _clip(self, entry: Entry, draw: int) -> Clip:
        if self.config.windows:
            # The video's own name: the same stretches wherever it stands in the list.
            draw = sample_seed(zlib.crc32(entry.key.encode()), draw % self.config.windows)
        cut = self._cut(entry, draw)
        return Clip(
            key=f"{entry.key} {cut.first} {cut.stride}",
            frames=fit_clip(cut.frames, self.config.size),
            caption=entry.caption,
            motion_caption=entry.motion_caption or entry.caption,
            # Whole frames per second, as published: the source's rate divided and rounded down.
            fps=float(max(1, int(cut.rate) // cut.stride)),
            frame_stride=cut.stride,
        )

    def _cut(self, entry: Entry, draw: int) -> Cut:
        count, strides = self.config.num_frames, self.config.frame_strides
        if is_picture(entry.key):
            _, stride = draw_window(1, count, strides, draw)
            return Cut([read_picture(entry.open())], 0, stride, 0.0)
        return read_cut(
            entry.open,
            lambda frames: draw_window(frames, count, strides, draw),
            count,
            self._timelines.get(entry.key),
            lambda timeline: self._remember(entry.key, timeline),
        )

    def _remember(self, key: str, timeline: Timeline) -> None:
        self._remembered += len(timeline.times)
        if self._remembered <= MAX_REMEMBERED:
            self._timelines[key] = timeline


def open_source(config: DataConfig) -> ClipSource:
    """The source that a configuration names. Raises ConfigError when it is empty."""
    if config.kind == "small_world":
        raise ConfigError(
            "data.kind small_world is drawn, not read; train on it by `python -m "
            "research.small_world.train.chain`, or choose folder, table or shards."
        )
    path = Path(config.path)
    wants_file = config.kind == "table"
    if not config.path or not (path.is_file() if wants_file else path.is_dir()):
        wanted = "file" if wants_file else "folder"
        state = f"is not a {wanted}" if config.path and path.exists() else "does not exist"
        raise ConfigError(
            f"data.path is '{shown(config.path)}', which {state}; data.kind {config.kind} reads a "
            f"{wanted}, so give one."
        )
    if wants_file:
        entries = table_entries(path)
    else:
        read = folder_entries if config.kind == "folder" else shard_entries
        entries = read(path, config.num_frames)
    if not entries:
        raise ConfigError(
            f"{shown(config.path)} holds no videos for data.kind '{config.kind}'; check both."
        )
    return VideoSource(entries, config)
