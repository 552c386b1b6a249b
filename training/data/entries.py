"""Captioned videos of a folder, a CSV or Parquet table, or webdataset shards, as lists."""

import csv
import io
import logging
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dc_model.shown import shown

from ..config import ConfigError
from .video import is_clip

log = logging.getLogger(__name__)

# CLIP reads 77 tokens; text longer than a book's page is not a caption.
MAX_CAPTION_BYTES = 64 * 1024
DELIMITERS = ",;\t|"
COLUMNS = ("path", "caption", "dynamic_wording")


@dataclass(frozen=True, slots=True)
class Entry:
    """One video of a set. open: gives what PyAV opens, again for each use."""

    key: str
    caption: str
    open: Callable[[], Any]
    motion_caption: str = ""


def files_below(folder: Path, serves: Callable[[Path], bool]) -> list[Path]:
    """Every file that `serves`, in a fixed order; dangling links are named and left out."""
    found = sorted(path for path in folder.rglob("*") if serves(path) and not path.is_dir())
    for path in found:
        if not path.exists():
            log.warning("Skipped %s: the link leads nowhere.", shown(path))
    return [path for path in found if path.exists()]


def folder_entries(folder: Path, num_frames: int) -> list[Entry]:
    """Every video below a folder; its caption stands beside it in a `.txt` of the same name.

    Raises ConfigError for a caption that cannot be read.
    """
    entries = []
    for path in files_below(folder, lambda p: is_clip(p, num_frames)):
        text = path.with_suffix(".txt")
        caption = read_text(text) if text.is_file() else ""
        entries.append(Entry(path.relative_to(folder).as_posix(), caption, lambda p=path: str(p)))
    return entries


def table_entries(table: Path) -> list[Entry]:
    """Rows of a CSV or Parquet file with the columns `path` and `caption` (and `dynamic_wording`,
    the caption's motion words). Relative paths start at the table's folder.

    The columns' names may be in any case, the CSV separated by comma, semicolon, tab or bar. A row
    without a caption has the empty one. Raises ConfigError when a column or a path is missing.
    """
    is_parquet = table.suffix.lower() == ".parquet"
    rows = _parquet_rows(table) if is_parquet else _csv_rows(table)
    entries = []
    for number, row in rows:
        where = f"{table.name}, row {number}"
        path, caption, motion = (as_text(row.get(column), where) for column in COLUMNS)
        if not path:
            raise ConfigError(f"{where} has no path; fill it in or remove the row.")
        full = table.parent / path
        entries.append(Entry(path, caption, lambda p=full: str(p), motion))
    return entries


def _csv_rows(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered as spreadsheets do: the first row holds the columns' names."""
    text = _decode(_bytes_of(table), table.name)
    header = text.split("\n", 1)[0]
    # The separator that most of the header's known names stand between.
    delimiter = max(DELIMITERS, key=lambda d: len(set(_names(header.split(d))) & set(COLUMNS)))
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        names = _names(next(reader, []))
        _require_columns(names, table)
        for number, cells in enumerate(reader, 2):
            if any(cell.strip() for cell in cells):
                _require_no_rest(names, cells, f"{table.name}, row {number}", delimiter)
                yield number, dict(zip(names, cells, strict=False))
    except csv.Error as error:
        raise ConfigError(f"{shown(table.name)}, line {reader.line_num}: {error}.") from None


def _require_no_rest(names: list[str], cells: list[str], where: str, delimiter: str) -> None:
    """Spreadsheets may end rows with empty cells; text there was cut off a caption."""
    if any(cell.strip() for cell in cells[len(names) :]):
        raise ConfigError(
            f"{shown(where)} has {len(cells)} cells for {len(names)} columns; put a caption that "
            f"holds {shown(repr(delimiter))} in double quotes."
        )


def _names(cells: Iterable[str]) -> list[str]:
    return [cell.strip().strip("\"'").strip().lower() for cell in cells]


def _require_columns(names: list[str], table: Path) -> None:
    if not {"path", "caption"} <= set(names):
        found = ", ".join(names) or "none"
        raise ConfigError(
            f"{shown(table.name)} has the columns {shown(found)}; it needs path and caption in "
            "its first row: add them."
        )


def _parquet_rows(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(
            f"{shown(table.name)} needs PyArrow: python -m pip install pyarrow, or save it as CSV."
        ) from None
    try:
        with pyarrow.parquet.ParquetFile(table) as file:
            names = file.schema_arrow.names
            _require_columns(_names(names), table)
            wanted = [name for name in names if _names([name])[0] in COLUMNS]
            number = 0
            for batch in file.iter_batches(batch_size=256, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {_names([k])[0]: v for k, v in row.items()}
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(
            f"{shown(table.name)} is not a whole Parquet file: {shown(error)}."
        ) from None


def shard_entries(folder: Path, num_frames: int) -> list[Entry]:
    """Videos inside webdataset shards: `NAME.mp4` and `NAME.txt` next to each other in `.tar`s.

    Raises ConfigError for a shard or a caption that cannot be read.
    """
    entries = []
    for shard in sorted(p for p in folder.glob("*.tar") if p.is_file()):
        try:
            # Only a plain archive can be read from its middle.
            with tarfile.open(shard, "r:") as tar:
                entries += _members(shard, tar, num_frames)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise ConfigError(
                f"{shown(shard.name)} is not a whole, uncompressed tar file: {shown(error)}."
            ) from None
    return entries


def _members(shard: Path, tar: tarfile.TarFile, num_frames: int) -> Iterator[Entry]:
    members: Mapping[str, tarfile.TarInfo] = {
        m.name: m for m in tar.getmembers() if m.isfile() and not m.issparse()
    }
    for name, member in sorted(members.items()):
        if not is_clip(Path(name), num_frames):
            continue
        text = members.get(str(Path(name).with_suffix(".txt")))
        caption = ""
        if text is not None:
            where = f"{shard.name}/{text.name}"
            _require_short(text.size, where)
            file = tar.extractfile(text)
            caption = _decode(file.read() if file else b"", where).strip()
        span = (shard, member.offset_data, member.size)
        yield Entry(f"{shard.name}/{name}", caption, lambda s=span: _part(*s))


def _part(shard: Path, offset: int, size: int) -> io.BytesIO:
    with shard.open("rb") as file:
        file.seek(offset)
        return io.BytesIO(file.read(size))


def read_text(path: Path) -> str:
    """A caption's file. Raises ConfigError that names it."""
    _require_short(path.stat().st_size, path.name)
    return _decode(_bytes_of(path), path.name).strip()


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{shown(path.name)} cannot be read: {error.strerror}.") from None


def _require_short(size: int, where: str) -> None:
    if size > MAX_CAPTION_BYTES:
        raise ConfigError(
            f"The caption {shown(where)} has {size} bytes, more than {MAX_CAPTION_BYTES}; check "
            "that it is text."
        )


def _decode(content: bytes, where: str) -> str:
    """Text in UTF-8, or in UTF-16 where it says so; line ends as they are."""
    utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{shown(where)}, line {row}: byte 0x{content[error.start]:02x} is not UTF-8; save "
            "the file as UTF-8."
        ) from None


def as_text(value: Any, where: str) -> str:
    """A table's cell; what is missing (null, NaN) is the empty text."""
    if value is None or value != value:
        return ""
    text = _decode(value, where) if isinstance(value, bytes) else str(value)
    _require_short(len(text.encode("utf-8", "replace")), where)
    return text.strip()
