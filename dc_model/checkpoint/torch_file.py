"""Files that `torch.save` wrote: a zip archive, or a row of pickles before PyTorch 1.6.

Both are taken apart here, from one open file. Tensors are mapped, not copied, where they lie at an
address that their type can be read from. Source: `torch.serialization`.
"""

import io
import mmap
import struct
import zipfile
from typing import IO, Any

import torch
from torch import Tensor

from ..shown import shown
from .errors import TO_SAFETENSORS, CheckpointError, require_genuine
from .pickles import MAX_PICKLE, read_pickle, require_short

ZIP_MAGIC = b"PK\x03\x04"
# The first pickle of the older format: protocol 2 and this number. The next ones: the format's
# version, the machine, the content, the names of the storages.
LEGACY_START = b"\x80\x02\x8a\x0a" + bytes.fromhex("6cfc9c46f9206aa85019") + b"."
LEGACY_VERSION, MAX_ZIP_VERSION = 1001, 10
# The largest type has 16 bytes; PyTorch aligns to 64.
ALIGNMENT = 16

_LOCAL_HEADER, _DIRECTORY_ENTRY = 30, 46
# The end record, and what large archives have before it: a record of 64-bit numbers, and where
# that record lies.
_END, _LARGE_END, _LOCATOR = "<4s4H2LH", "<4sQ2H2L4Q", "<4sLQL"
_END_SIZE, _LARGE_SIZE = 22, 56 + 20
# A checksum and sizes that follow a record's bytes.
_DATA_DESCRIPTOR = 24

# Bytes of a file: where they start, and how many there are.
Place = tuple[int, int]
# Storages whose bytes are still in the file, and where they start.
Unread = list[tuple[Tensor, int]]


def read_archive(file: IO[bytes], size: int) -> tuple[Any, Unread]:
    """What the pickle in a zip archive holds.

    Raises CheckpointError, or what broken bytes make Python raise.
    """
    _refuse_program(zipfile.ZipFile(file).namelist())
    places = record_places(file, size)
    folder = _folder(places)

    def record(name: str, most: int = 16) -> bytes:
        start, length = places[folder + name]
        file.seek(start)
        return file.read(min(length, most))

    version = record("version").strip()
    require_genuine(
        version.isdigit() and int(version) <= MAX_ZIP_VERSION, f"version {shown(version)}"
    )
    _require_little(f"{folder}byteorder" not in places or record("byteorder") == b"little")
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    unread: Unread = []

    def find_storage(name: str, count: int, itemsize: int) -> Tensor:
        start, length = places[f"{folder}data/{name}"]
        require_genuine(length == count * itemsize, f"storage {shown(name)} has {length} bytes")
        if length and start % ALIGNMENT == 0:
            return torch.frombuffer(mapped, dtype=torch.uint8, count=length, offset=start)
        unread.append((torch.empty(length, dtype=torch.uint8), start))
        return unread[-1][0]

    require_short(places[f"{folder}data.pkl"][1])
    return read_pickle(io.BytesIO(record("data.pkl", MAX_PICKLE)), find_storage, size), unread


def _refuse_program(names: list[str]) -> None:
    # PyTorch names the folder of a file's records after the file, which may be called code.
    if any(name.partition("/")[2].startswith("code/") for name in names):
        raise CheckpointError(
            "It is a TorchScript program, which is code: choose a file with a state dict."
        )


def _folder(names: dict[str, Place]) -> str:
    """Where the one pickle and its records lie."""
    pickles = [name for name in names if name.rpartition("/")[2].casefold() == "data.pkl"]
    if len(pickles) != 1 or not pickles[0].endswith("data.pkl"):
        raise CheckpointError(
            f"It is a zip archive that PyTorch did not write ({len(pickles)} data.pkl in it): "
            "unpack it, and choose the checkpoint inside."
        )
    return pickles[0].removesuffix("data.pkl")


def _require_little(little: object) -> None:
    if little is not True:
        raise CheckpointError(f"Its byte order is big-endian or unknown: {TO_SAFETENSORS}.")


def record_places(file: IO[bytes], size: int, *, packed: bool = False) -> dict[str, Place]:
    """Record -> its bytes. packed: allows records that are compressed.

    Raises ValueError for archives that two programs could read differently, or what broken bytes
    make Python raise. Checksums are not looked at: PyTorch can be asked to leave them out.
    """
    archive = zipfile.ZipFile(file)
    records = sorted(archive.infolist(), key=lambda record: record.header_offset)
    require_genuine(
        len({r.filename.casefold() for r in records}) == len(records), "doubled records"
    )
    places, reached, directory = {}, 0, 0
    for record in records:
        name = record.orig_filename.encode("utf-8" if record.flag_bits & 0x800 else "cp437")
        stored = (record.compress_type, record.file_size) == (0, record.compress_size)
        plain = (stored or packed) and not record.flag_bits & 1
        require_genuine(plain, f"{shown(record.filename)} is packed, which PyTorch never does")
        file.seek(max(record.header_offset, 0))
        magic, length, extra = struct.unpack("<4s22xHH", file.read(_LOCAL_HEADER))
        # One after the other from the file's first byte, by which programs tell formats apart.
        near = 0 <= record.header_offset - reached <= (_DATA_DESCRIPTOR if places else 0)
        found = near and magic == ZIP_MAGIC and file.read(length) == name
        require_genuine(found, f"{shown(record.filename)} is not where its directory says")
        start = record.header_offset + _LOCAL_HEADER + length + extra
        places[record.filename] = start, record.compress_size
        reached = start + record.compress_size
        directory += _DIRECTORY_ENTRY + len(name) + len(record.extra) + len(record.comment)
    # One directory, directly after the records and up to the end.
    near = 0 <= archive.start_dir - reached <= _DATA_DESCRIPTOR
    file.seek(archive.start_dir + directory)
    end = file.read(_LARGE_SIZE + _END_SIZE + 1)
    require_genuine(near and file.tell() == size, "bytes that its directory lacks")
    require_genuine(
        _is_end(end, len(records), directory, archive.start_dir),
        "an end that points to another directory",
    )
    return places


def _is_end(end: bytes, count: int, length: int, start: int) -> bool:
    """Whether an archive's last bytes state just this directory: its entries, bytes and place.

    Programs differ in which of the statements they follow: Python's `zipfile` ignores where a large
    archive's record is said to lie, and moves the directory to before the end; PyTorch does not.
    """
    at = len(end) - _END_SIZE
    if at not in (0, _LARGE_SIZE):
        return False
    magic, *disks, entries, all_entries, stated_length, stated_start, comment = struct.unpack_from(
        _END, end, at
    )
    plain = (entries, all_entries, stated_length, stated_start)
    true = (count, count, length, start)
    # Where a record of 64-bit numbers follows, the largest number stands for "see there".
    largest = (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    same = all(
        found == fact or (at and found == most)
        for found, fact, most in zip(plain, true, largest, strict=True)
    )
    whole = (magic, disks, comment) == (b"PK\5\6", [0, 0], 0)
    return same and whole and (not at or _is_large_end(end, true))


def _is_large_end(end: bytes, true: tuple[int, ...]) -> bool:
    """The same of the record of 64-bit numbers, and of where it is said to lie."""
    _count, _all, length, start = true
    magic, rest, _made, _needed, *disks = struct.unpack_from(_LARGE_END, end)
    large = (magic, rest, disks) == (b"PK\6\6", 44, [0, 0, *true])
    locator = struct.unpack_from(_LOCATOR, end, struct.calcsize(_LARGE_END))
    return large and locator == (b"PK\6\7", 0, start + length, 1)


class _Start(io.BytesIO):
    """A file's first bytes. Raises CheckpointError where a reader wants those that follow."""

    def __init__(self, data: bytes, size: int):
        super().__init__(data)
        self.size = size

    def read(self, count: int | None = -1, /) -> bytes:
        end = self.tell() + (count or 0)
        # A file that is too short for what is wanted is damaged, which its reader says.
        require_short(end if end <= self.size else 0)
        return super().read(count)


def read_legacy(file: IO[bytes], size: int) -> tuple[Any, Unread]:
    """The same of a file of PyTorch before 1.6: five pickles, then the storages."""
    made: dict[str, tuple[Tensor, int]] = {}

    def find_storage(name: str, count: int, itemsize: int) -> Tensor:
        made[name] = torch.empty(count * itemsize, dtype=torch.uint8), count
        return made[name][0]

    file.seek(0)
    stream = _Start(file.read(MAX_PICKLE), size)
    _, version, machine, content, names = (
        read_pickle(stream, find_storage, size) for _ in range(5)
    )
    require_genuine(version == LEGACY_VERSION, f"version {shown(version)}")
    _require_little(machine["little_endian"])
    require_genuine(set(names) == made.keys(), "its storages are not those of its tensors")
    unread, start = [], stream.tell()
    for name in names:
        data, count = made[name]
        file.seek(start)
        counted = file.read(8) == struct.pack("<q", count)
        require_genuine(counted, f"storage {shown(name)} is not of {count} numbers")
        unread.append((data, start + 8))
        start += 8 + len(data)
    return content, unread
