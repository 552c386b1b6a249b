"""Files that `torch.save` wrote: a zip archive, or a row of pickles before PyTorch 1.6.

Both are taken apart here, from one open file. Tensors are mapped, not copied, where they lie at an
address that their type can be read from. Source: `torch.serialization` for both formats.
"""

import io
import mmap
import struct
import zipfile
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from ..shown import shown
from .detect import CheckpointError
from .pickles import MAX_PICKLE, TO_SAFETENSORS, read_pickle

ZIP_MAGIC = b"PK\x03\x04"
# The first pickle of the older format: protocol 2 and this number. The next ones: the format's
# version, the machine, the content, the names of the storages.
LEGACY_START = b"\x80\x02\x8a\x0a" + bytes.fromhex("6cfc9c46f9206aa85019") + b"."
LEGACY_VERSION = 1001
MAX_ZIP_VERSION = 10
# The largest type has 16 bytes; PyTorch aligns to 64.
ALIGNMENT = 16

_LOCAL_HEADER, _DIRECTORY_ENTRY, _END, _END_64 = 30, 46, 22, 22 + 56 + 20
# A checksum and sizes that follow a record's bytes.
_DATA_DESCRIPTOR = 24


class Place(NamedTuple):
    """Bytes of a file."""

    start: int
    size: int


# Storages whose bytes are still in the file, and where they start.
Unread = list[tuple[Tensor, int]]


def read_archive(file: IO[bytes], size: int) -> tuple[Any, Unread]:
    """What the pickle in a zip archive holds.

    Raises CheckpointError, or what broken bytes make Python raise.
    """
    places = record_places(file, size)
    pickle = _find_pickle(places)
    folder = pickle.removesuffix("data.pkl")
    version = _read(file, places[f"{folder}version"], 16).strip()
    if not version.isdigit() or int(version) > MAX_ZIP_VERSION:
        raise ValueError(f"version {shown(version)}, expected up to {MAX_ZIP_VERSION}")
    order = places.get(f"{folder}byteorder")
    if order is not None and _read(file, order, 16) != b"little":
        raise CheckpointError(
            f"Its byte order is {shown(_read(file, order, 16))}, not little: {TO_SAFETENSORS}."
        )
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    unread: Unread = []

    def find_storage(name: str, count: int, itemsize: int) -> Tensor:
        start, length = places[f"{folder}data/{name}"]
        if length != count * itemsize:
            raise ValueError(f"storage {shown(name)} has {length} bytes of {count * itemsize}")
        if length and start % ALIGNMENT == 0:
            return torch.frombuffer(mapped, dtype=torch.uint8, count=length, offset=start)
        data = torch.empty(length, dtype=torch.uint8)
        unread.append((data, start))
        return data

    listing = io.BytesIO(_read(file, places[pickle], MAX_PICKLE))
    return read_pickle(listing, find_storage, size), unread


def _find_pickle(records: Mapping[str, Place]) -> str:
    if any("/code/" in f"/{name}" for name in records):
        raise CheckpointError(
            "It is a TorchScript program, which is code: choose a file with a state dict."
        )
    pickles = [name for name in records if name.rpartition("/")[2].casefold() == "data.pkl"]
    if len(pickles) != 1 or not pickles[0].endswith("data.pkl"):
        raise CheckpointError(
            f"It is a zip archive that PyTorch did not write ({len(pickles)} data.pkl in it): "
            "unpack it, and choose the checkpoint inside."
        )
    return pickles[0]


def record_places(file: IO[bytes], size: int, *, packed: bool = False) -> dict[str, Place]:
    """Record -> its bytes. packed: allows records that are compressed.

    Raises ValueError for archives that two programs could read differently, or what broken bytes
    make Python raise. Checksums are not looked at: PyTorch can be asked to leave them out.
    """
    archive = zipfile.ZipFile(file)
    records = sorted(archive.infolist(), key=lambda record: record.header_offset)
    if len({record.filename.casefold() for record in records}) < len(records):
        raise ValueError("a zip with doubled records")
    places, reached, directory = {}, 0, 0
    for record in records:
        stored = record.compress_type == zipfile.ZIP_STORED
        plain = packed or (stored and record.file_size == record.compress_size)
        if record.flag_bits & 1 or not plain:
            raise ValueError(f"{shown(record.filename)} is packed, which PyTorch never does")
        name = record.orig_filename.encode("utf-8" if record.flag_bits & 0x800 else "cp437")
        file.seek(record.header_offset)
        header = file.read(_LOCAL_HEADER)
        length, extra = struct.unpack("<HH", header[26:])
        found = header.startswith(ZIP_MAGIC) and file.read(length) == name
        # One after the other from the file's start.
        if not found or not 0 <= record.header_offset - reached <= _DATA_DESCRIPTOR:
            raise ValueError(f"{shown(record.filename)} is not where its directory says")
        start = record.header_offset + _LOCAL_HEADER + length + extra
        places[record.filename] = Place(start, record.compress_size)
        reached = start + record.compress_size
        directory += _DIRECTORY_ENTRY + len(name) + len(record.extra) + len(record.comment)
    # One directory, directly after the records and up to the end.
    after = size - archive.start_dir - directory
    if not 0 <= archive.start_dir - reached <= _DATA_DESCRIPTOR or after not in (_END, _END_64):
        raise ValueError("it has other bytes than its directory lists")
    return places


def _read(file: IO[bytes], place: Place, most: int) -> bytes:
    file.seek(place.start)
    return file.read(min(place.size, most))


def read_legacy(file: IO[bytes], size: int) -> tuple[Any, Unread]:
    """The same of a file of PyTorch before 1.6: five pickles, then the storages."""
    made: dict[str, tuple[Tensor, int]] = {}

    def find_storage(name: str, count: int, itemsize: int) -> Tensor:
        made[name] = torch.empty(count * itemsize, dtype=torch.uint8), count
        return made[name][0]

    file.seek(0)
    stream = io.BytesIO(file.read(MAX_PICKLE))
    _magic, version, machine, value, names = (
        read_pickle(stream, find_storage, size) for _ in range(5)
    )
    if version != LEGACY_VERSION:
        raise ValueError(f"version {shown(version)}, expected {LEGACY_VERSION}")
    if machine["little_endian"] is not True:
        raise CheckpointError(f"It was written on a big-endian machine: {TO_SAFETENSORS}.")
    if set(names) != made.keys():
        raise ValueError("its storages are not those of its tensors")
    unread, at = [], stream.tell()
    for name in names:
        data, count = made[name]
        file.seek(at)
        if file.read(8) != struct.pack("<q", count):
            raise ValueError(f"storage {shown(name)} is not of {count} numbers")
        unread.append((data, at + 8))
        at += 8 + len(data)
    return value, unread


def read_rest(file: IO[bytes], unread: Unread) -> None:
    """Fills the storages that are not mapped."""
    for data, start in unread:
        file.seek(start)
        if file.readinto(memoryview(data.numpy())) != len(data):  # type: ignore[attr-defined]
            raise EOFError("the file became shorter")
