"""Files that `torch.save` wrote: a zip archive, or a row of pickles before PyTorch 1.6.

Both are taken apart here, by the one program that also checks them, from one open file. Tensors are
mapped, not copied, where they lie at an address that their type can be read from. Source:
`torch.serialization` for both formats.
"""

import io
import mmap
import struct
import zipfile
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..shown import shown
from .detect import CheckpointError
from .pickles import (
    MAX_PICKLE,
    TO_SAFETENSORS,
    TensorEntry,
    run,
    tensors_in,
)

DOWNLOAD_AGAIN = "the download is probably incomplete; download the file again"

ZIP_MAGIC = b"PK\x03\x04"
# The first pickle of the older format: protocol 2 and this number. The next ones: the format's
# version, the machine, the content, the names of the storages.
LEGACY_START = b"\x80\x02\x8a\x0a" + bytes.fromhex("6cfc9c46f9206aa85019") + b"."
LEGACY_VERSION = 1001
MAX_ZIP_VERSION = 10
# Tensors' bytes over the file's: weights may be there under two names.
MAX_SHARING = 2
# The largest type has 16 bytes; PyTorch aligns to 64.
ALIGNMENT = 16

_LOCAL_HEADER, _DIRECTORY_ENTRY, _END, _END_64 = 30, 46, 22, 22 + 56 + 20
# A checksum and sizes that follow a record's bytes.
_DATA_DESCRIPTOR = 24


class Place(NamedTuple):
    """Bytes of a file."""

    start: int
    size: int


class Listing(NamedTuple):
    """A file's content with `TensorEntry` for tensors, and where the storages lie, by key."""

    content: Any
    places: Mapping[str, Place]


def list_archive(file: IO[bytes], size: int) -> Listing:
    """The content of a zip archive. Raises CheckpointError, or what broken
    bytes make Python raise."""
    places = record_places(file, size)
    pickle = _find_pickle(places)
    folder = pickle.removesuffix("data.pkl")
    version = _small_record(file, places.get(f"{folder}version"), "no version")
    order = _small_record(file, places.get(f"{folder}byteorder"), "little")
    if not version.isdigit() or int(version) > MAX_ZIP_VERSION:
        raise CheckpointError(
            f"It has {shown(version)} where PyTorch writes the version of the format, up to "
            f"{MAX_ZIP_VERSION}: {DOWNLOAD_AGAIN}."
        )
    if order != "little":
        raise CheckpointError(
            f"Its numbers are in the byte order {shown(order)}, expected little: {TO_SAFETENSORS}."
        )
    file.seek(places[pickle].start)
    content = run(io.BytesIO(file.read(min(places[pickle].size, MAX_PICKLE))))
    data = f"{folder}data/"
    keys = {name.removeprefix(data): p for name, p in places.items() if name.startswith(data)}
    return _checked(Listing(content, keys), size)


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

    Raises CheckpointError for archives that two programs could read differently, or what broken
    bytes make Python raise.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"It is damaged, a zip without its end: {DOWNLOAD_AGAIN}.") from error
    records = sorted(archive.infolist(), key=lambda record: record.header_offset)
    if len({record.filename.casefold() for record in records}) < len(records):
        raise CheckpointError(f"It is damaged, a zip with doubled records: {DOWNLOAD_AGAIN}.")
    places, reached = {}, 0
    for record in records:
        start = _data_start(file, record)
        whole = record.compress_type == zipfile.ZIP_STORED or packed
        plain = packed or record.file_size == record.compress_size
        near = 0 <= record.header_offset - reached <= _DATA_DESCRIPTOR
        if not (whole and plain and near) or record.flag_bits & 1:
            raise CheckpointError(
                f"Its record {shown(record.filename)} is packed, overlaps another or stands apart, "
                "which PyTorch never writes: download the file from its author."
            )
        places[record.filename] = Place(start, record.compress_size)
        reached = start + record.compress_size
    # One directory, directly after the records and up to the end.
    directory = sum(
        _DIRECTORY_ENTRY + len(_raw_name(r)) + len(r.extra) + len(r.comment) for r in records
    )
    after = size - archive.start_dir - directory
    if not 0 <= archive.start_dir - reached <= _DATA_DESCRIPTOR or after not in (_END, _END_64):
        raise CheckpointError(
            "It has other bytes between or after its records than its directory lists: "
            f"{DOWNLOAD_AGAIN}."
        )
    return places


def _data_start(file: IO[bytes], record: zipfile.ZipInfo) -> int:
    """Where a record's bytes start: after its own header, name and extra field.

    The archive's checksums are not looked at: PyTorch can be asked to leave them out.
    """
    file.seek(record.header_offset)
    header = file.read(_LOCAL_HEADER)
    name, extra = struct.unpack("<HH", header[26:].ljust(4, b"\x00"))
    if not header.startswith(ZIP_MAGIC) or file.read(name) != _raw_name(record):
        raise CheckpointError(
            f"Its record {shown(record.filename)} is not where its directory says: "
            f"{DOWNLOAD_AGAIN}."
        )
    return record.header_offset + _LOCAL_HEADER + name + extra


def _raw_name(record: zipfile.ZipInfo) -> bytes:
    return record.orig_filename.encode("utf-8" if record.flag_bits & 0x800 else "cp437")


def _small_record(file: IO[bytes], place: Place | None, absent: str) -> str:
    if place is None:
        return absent
    file.seek(place.start)
    return file.read(min(place.size, 16)).decode("ascii", "replace").strip()


def list_legacy(file: IO[bytes], size: int) -> Listing:
    """The content of a file of PyTorch before 1.6: five pickles, then the storages."""
    file.seek(0)
    stream = io.BytesIO(file.read(MAX_PICKLE))
    _magic, version, machine, content, keys = (run(stream) for _ in range(5))
    if version != LEGACY_VERSION or not isinstance(machine, dict) or not isinstance(keys, list):
        raise CheckpointError(
            f"It has the version {shown(version)}, expected {LEGACY_VERSION}: {DOWNLOAD_AGAIN}."
        )
    if machine.get("little_endian") is not True:
        raise CheckpointError(f"It was written on a big-endian machine: {TO_SAFETENSORS}.")
    items = {entry.storage.key: entry.storage.dtype.itemsize for entry in tensors_in(content)}
    places, at = {}, stream.tell()
    for key in keys:
        file.seek(at)
        (count,) = struct.unpack("<q", file.read(8))
        # Only storages of tensors were written.
        places[key] = Place(at + 8, count * items[key])
        at += 8 + places[key].size
    return _checked(Listing(content, places), size)


def _checked(listing: Listing, size: int) -> Listing:
    """The listing, once each storage is whole and all tensors together are not a bomb."""
    claimed = 0
    for entry in tensors_in(listing.content):
        place = listing.places.get(entry.storage.key)
        if place is None or place.size != entry.storage.nbytes or place.start + place.size > size:
            raise CheckpointError(
                f"It lacks bytes of tensors ({shown(entry.storage.key)} should have "
                f"{entry.storage.nbytes}): {DOWNLOAD_AGAIN}."
            )
        claimed += entry.nbytes
    if claimed > MAX_SHARING * size:
        raise CheckpointError(
            f"Its tensors would have {claimed} bytes, but the file has {size}: {DOWNLOAD_AGAIN}."
        )
    return listing


def read_tensors(
    file: IO[bytes], entries: Mapping[str, TensorEntry], places: Mapping[str, Place]
) -> dict[str, Tensor]:
    """The data of tensors by name, which share their bytes with the file where they can.

    What is written to a tensor does not reach the file.
    """
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    storages: dict[str, Tensor] = {}
    tensors = {}
    for name, entry in entries.items():
        key = entry.storage.key
        if key not in storages:
            storages[key] = _bytes(file, mapped, places[key])
        data = storages[key].view(entry.dtype)
        tensors[name] = data.as_strided(entry.shape, entry.stride, entry.offset)
    return tensors


def _bytes(file: IO[bytes], mapped: mmap.mmap, place: Place) -> Tensor:
    """`[place.size]` uint8."""
    if not place.size:
        return torch.empty(0, dtype=torch.uint8)
    if place.start % ALIGNMENT == 0:
        return torch.frombuffer(mapped, dtype=torch.uint8, count=place.size, offset=place.start)
    data = np.empty(place.size, np.uint8)
    file.seek(place.start)
    if file.readinto(memoryview(data)) != place.size:  # type: ignore[attr-defined]
        raise EOFError("the file became shorter")
    return torch.from_numpy(data)
