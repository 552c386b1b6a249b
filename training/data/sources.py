"""Clip sources: a folder with captions, a CSV or Parquet table, webdataset shards.

A broken or too short file is skipped and counted; another clip takes its place.
"""

import csv
import io
import logging
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import ConfigError, DataConfig
from .clip import Clip, ClipSource
from .order import sample_seed
from .video import BrokenVideo, decode_frames, draw_window, fit_clip, frame_count, is_clip

log = logging.getLogger(__name__)

MAX_REPLACEMENTS = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One video of a set. open: gives what PyAV opens, anew for each use."""

    key: str
    caption: str
    open: Callable[[], Any]
    motion_caption: str = ""


@dataclass
class VideoSource:
    """Clips of a list of videos. skipped: how many accesses met a broken file."""

    entries: list[Entry]
    config: DataConfig
    skipped: int = 0
    _broken: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.entries)

    def load(self, index: int, draw: int) -> Clip:
        """The clip `index`, or the next readable one. Raises ValueError when none can be read."""
        for offset in range(min(len(self.entries), MAX_REPLACEMENTS)):
            entry = self.entries[(index + offset) % len(self.entries)]
            try:
                return self._clip(entry, draw)
            except BrokenVideo as error:
                self.skipped += 1
                if entry.key not in self._broken:
                    self._broken.add(entry.key)
                    log.warning("Skipped %s: %s.", entry.key, error)
        raise ValueError(f"None of {MAX_REPLACEMENTS} videos from number {index} on can be read.")

    def _clip(self, entry: Entry, draw: int) -> Clip:
        count = self.config.num_frames
        if self.config.windows:
            # The video's own name: the same stretches wherever it stands in the list.
            draw = sample_seed(zlib.crc32(entry.key.encode()), draw % self.config.windows)
        first, stride = draw_window(
            frame_count(entry.open()), count, self.config.frame_strides, draw
        )
        frames, rate = decode_frames(entry.open(), first, stride, count)
        return Clip(
            key=f"{entry.key} {first} {stride}",
            frames=fit_clip(frames, self.config.size),
            caption=entry.caption,
            motion_caption=entry.motion_caption or entry.caption,
            # Whole frames per second, as published: the source's rate divided and rounded down.
            fps=float(max(1, int(rate) // stride)),
            frame_stride=stride,
        )


def folder_entries(folder: Path, num_frames: int) -> list[Entry]:
    """Every video below a folder; its caption stands beside it in a `.txt` of the same name."""
    entries = []
    for path in sorted(p for p in folder.rglob("*") if is_clip(p, num_frames)):
        text = path.with_suffix(".txt")
        caption = text.read_text(encoding="utf-8").strip() if text.exists() else ""
        entries.append(Entry(path.relative_to(folder).as_posix(), caption, lambda p=path: str(p)))
    return entries


def table_entries(table: Path) -> list[Entry]:
    """Rows of a CSV or Parquet file with the columns `path` and `caption` (and `dynamic_wording`,
    the motion words of a DCP set). Relative paths start at the table's folder.

    Raises ConfigError when a column is missing.
    """
    rows = _parquet_rows(table) if table.suffix == ".parquet" else _csv_rows(table)
    entries = []
    for row in rows:
        if "path" not in row or "caption" not in row:
            raise ConfigError(
                f"{table.name} has the columns {', '.join(row)}; needs path, caption."
            )
        path = table.parent / row["path"]
        motion = str(row.get("dynamic_wording") or "")
        entries.append(Entry(row["path"], str(row["caption"]), lambda p=path: str(p), motion))
    return entries


def _csv_rows(table: Path) -> list[dict[str, Any]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _parquet_rows(table: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(table).to_pylist()


def shard_entries(folder: Path, num_frames: int) -> list[Entry]:
    """Videos inside webdataset shards: `NAME.mp4` and `NAME.txt` next to each other in `.tar`s."""
    entries = []
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            members = {m.name: m for m in tar.getmembers() if m.isfile()}
            for name, member in sorted(members.items()):
                if not is_clip(Path(name), num_frames):
                    continue
                text = members.get(str(Path(name).with_suffix(".txt")))
                file = None if text is None else tar.extractfile(text)
                caption = "" if file is None else file.read().decode("utf-8").strip()
                span = (shard, member.offset_data, member.size)
                entries.append(Entry(f"{shard.name}/{name}", caption, lambda s=span: _read(*s)))
    return entries


def _read(shard: Path, offset: int, size: int) -> io.BytesIO:
    with shard.open("rb") as file:
        file.seek(offset)
        return io.BytesIO(file.read(size))


def open_source(config: DataConfig, seed: int) -> ClipSource:
    """The source that a configuration names. Raises ConfigError when it is empty."""
    if config.kind == "small_world":
        from research.small_world.world.dataset import SmallWorld

        return SmallWorld(config.pool, seed, num_frames=config.num_frames)
    path = Path(config.path)
    if not path.exists():
        raise ConfigError(f"data.path is {config.path!r}, which does not exist.")
    if config.kind == "table":
        entries = table_entries(path)
    else:
        read = folder_entries if config.kind == "folder" else shard_entries
        entries = read(path, config.num_frames)
    if not entries:
        raise ConfigError(f"{config.path} holds no videos for data.kind {config.kind!r}.")
    return VideoSource(entries, config)
