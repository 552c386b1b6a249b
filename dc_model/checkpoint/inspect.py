"""What a checkpoint file is, told before anything is allocated or run.

A file from the internet may be cut off, a web page under another name, or made to exhaust the
memory. Everything here reads headers only: no tensor, and no object of a pickle other than tensors
and plain values. Source: the safetensors format; PyTorch's zip format.
"""

import json
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any, Literal, NamedTuple

import torch
from torch import Tensor

from .detect import CheckpointError, brief
from .pickles import LARGEST_PICKLE, check_program

SAFETENSORS_SUFFIXES = (".safetensors", ".sft")
DOWNLOAD_AGAIN = "the download broke off or is of something else; download the file again"

# The largest published headers have half a megabyte; a hostile one grows in memory when parsed.
LARGEST_HEADER = 16 * 1024**2
MOST_DIMENSIONS = 8
# Tensors' bytes over the file's: weights may be there under two names.
MOST_SHARING = 2

ITEM_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}

# First bytes -> what the file is, and what to do.
MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"GGUF", "a GGUF file", "choose the safetensors or ckpt file"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"\x89PNG", "a PNG picture", "choose a checkpoint"),
    (b"\xff\xd8\xff", "a JPEG picture", "choose a checkpoint"),
    (b"\x89HDF", "an HDF5 file", "choose the safetensors or ckpt file"),
    (b"version https://git-lfs", "a Git LFS pointer", "download the file that it points to"),
    (b"version ", "a text file", DOWNLOAD_AGAIN),
)
ZIP_MAGIC = b"PK"
PICKLE_PROTOCOL = b"\x80"
# PyTorch's format before 1.6 starts with this number as a pickle; four more follow: its version,
# the machine, the content, the names of the storages.
LEGACY_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")
LEGACY_PICKLES = 5

# What parsers raise on bytes that no writer made.
DAMAGE = (
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
)

Format = Literal["safetensors", "zip", "legacy"]


class TensorInfo(NamedTuple):
    """A tensor that a file tells of."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file's header tells.

    tensors: by key, for safetensors. metadata: its free text. A pickle's tensors lie in wrappers:
    `listing` is then its content with tensors that have shapes but no data (device meta); None for
    the format before PyTorch 1.6, which has no header.
    """

    format: Format
    tensors: Mapping[str, TensorInfo] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    listing: Any = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: tensor.shape for key, tensor in self.tensors.items()}


def inspect_file(path: str | Path) -> FileContent:
    """Check that a file is whole, safe and of a format that the reader takes.

    The host chooses the format by the name's ending, so content under another name is refused.
    Raises CheckpointError, which names what was found and what to do. Reads headers only.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(512)
    named_safetensors = str(path).lower().endswith(SAFETENSORS_SUFFIXES)
    found = _format(start, size)
    if found == "safetensors" and not named_safetensors:
        raise CheckpointError(
            "It is a safetensors file under another name: rename it to end in .safetensors."
        )
    if found != "safetensors" and named_safetensors:
        raise CheckpointError(
            "It is a pickle of PyTorch and no safetensors file: rename it to end in .ckpt."
        )
    if found == "safetensors":
        return _inspect_safetensors(path, size)
    if found == "zip":
        _check_archive(path, size)
        return FileContent("zip", listing=_pickle_listing(path, size))
    with open(path, "rb") as file:
        _check_pickles(file, LEGACY_PICKLES)
    return FileContent("legacy")


def _format(start: bytes, size: int) -> Format:
    """The format by the first bytes; CheckpointError names any other."""
    if not size:
        raise CheckpointError(f"It is empty: {DOWNLOAD_AGAIN}.")
    if start.startswith(ZIP_MAGIC):
        return "zip"
    if start.startswith(PICKLE_PROTOCOL) and LEGACY_MAGIC in start[:32]:
        return "legacy"
    if start.startswith(PICKLE_PROTOCOL):
        raise CheckpointError(
            "It is a pickle that PyTorch did not write, and such files can run code: convert its "
            "state dict to safetensors."
        )
    for magic, name, advice in MAGIC:
        if start.startswith(magic):
            raise CheckpointError(
                f"It is {name}, no safetensors file and no pickle of PyTorch: {advice}."
            )
    if start[8:9] == b"{":
        return "safetensors"
    raise CheckpointError(
        f"It is {_describe(start)}, no safetensors file and no pickle of PyTorch: {DOWNLOAD_AGAIN}."
    )


def _describe(start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")):
        return "a web page"
    if not any(start):
        return "a file of zeros"
    try:
        start[:-4].decode("utf-8")  # the last character may be cut
    except UnicodeDecodeError:
        return "of an unknown format"
    return "a text file" if b"\x00" not in start else "of an unknown format"


def _inspect_safetensors(path: str | Path, size: int) -> FileContent:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LARGEST_HEADER:
            raise CheckpointError(
                f"It is damaged or no safetensors file, its header would have {length} bytes, more "
                f"than the {LARGEST_HEADER} that any checkpoint needs: {DOWNLOAD_AGAIN}."
            )
        text = file.read(length)
    if len(text) < length:
        raise CheckpointError(f"It has {size} bytes of at least {8 + length}: {DOWNLOAD_AGAIN}.")
    try:
        header = json.loads(text, object_pairs_hook=_without_doubles)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"It is no safetensors file or its header is damaged: {DOWNLOAD_AGAIN}."
        ) from error
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"Its metadata is damaged, not text by name: {DOWNLOAD_AGAIN}.")
    tensors, places = {}, []
    for key, entry in header.items():
        tensors[key], place = _tensor(key, entry)
        places.append(place)
    _check_places(places, size - 8 - length)
    return FileContent("safetensors", tensors, metadata)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        double = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise CheckpointError(
            f"Its header names {brief(double)} twice, which no program writes: {DOWNLOAD_AGAIN}."
        )
    return found


def _tensor(key: str, entry: Any) -> tuple[TensorInfo, tuple[int, int]]:
    """One entry of the header, and where its bytes lie."""
    key = brief(key)
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"Its header lacks type, shape or place of {key}: {DOWNLOAD_AGAIN}."
        ) from error
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        raise CheckpointError(
            f"Its tensor {key} is of type {brief(repr(dtype))}, which this reader does not know; "
            f"expected one of {', '.join(ITEM_SIZES)}: convert the file."
        )
    sizes_are_counts = isinstance(shape, list) and all(_is_count(n) for n in shape)
    if not sizes_are_counts or len(shape) > MOST_DIMENSIONS:
        raise CheckpointError(
            f"Its header gives {key} a shape that no tensor has; expected up to {MOST_DIMENSIONS} "
            f"counts: {DOWNLOAD_AGAIN}."
        )
    expected = prod(shape) * ITEM_SIZES[dtype]
    if not _is_count(start) or not _is_count(end) or end - start != expected:
        raise CheckpointError(
            f"Its header contradicts itself, {key} of shape {shape} as {dtype} needs {expected} "
            f"bytes but has the bytes from {start} to {end}: {DOWNLOAD_AGAIN}."
        )
    return TensorInfo(dtype, tuple(shape)), (start, end)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _check_places(places: list[tuple[int, int]], available: int) -> None:
    """The format knows neither overlaps nor holes, which could hide something."""
    reached = 0
    for start, end in sorted(places):
        if start != reached:
            kind = "overlap" if start < reached else "leave a hole"
            raise CheckpointError(f"Its tensors {kind} at byte {start}: {DOWNLOAD_AGAIN}.")
        reached = end
    if reached != available:
        raise CheckpointError(
            f"It has {available} bytes of tensors, its header tells of {reached}: {DOWNLOAD_AGAIN}."
        )


def _check_archive(path: str | Path, size: int) -> None:
    """The archive's records lie in it one after the other, unpacked, as PyTorch writes them."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except DAMAGE as error:
        raise CheckpointError(f"It is damaged, a zip without its end: {DOWNLOAD_AGAIN}.") from error
    names = [record.filename for record in records]
    if any("/code/" in f"/{name}" for name in names):
        raise CheckpointError(
            "It is a TorchScript program, which is code: choose a file with a state dict."
        )
    pickles = [r for r in records if r.filename.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise CheckpointError(
            "It is a zip archive that PyTorch did not write (no data.pkl): unpack it, and choose "
            "the checkpoint inside."
        )
    if len(set(names)) < len(names):
        raise CheckpointError(f"It is damaged, a zip with doubled records: {DOWNLOAD_AGAIN}.")
    reached = 0
    for record in sorted(records, key=lambda r: r.header_offset):
        packed = record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1
        if packed or record.file_size != record.compress_size or record.header_offset < reached:
            raise CheckpointError(
                f"Its record {brief(record.filename)} is packed or overlaps another, which PyTorch "
                "never writes and which can fill the memory: download the file from its author."
            )
        reached = record.header_offset + record.file_size
    if reached > size:
        raise CheckpointError(f"It tells of more bytes than its {size}: {DOWNLOAD_AGAIN}.")
    with open(path, "rb") as file:
        _seek_record(file, pickles[0])
        _check_pickles(file, 1)


def _seek_record(file: IO[bytes], record: zipfile.ZipInfo) -> None:
    """To a record's bytes, which follow its own header, name and extra field.

    The archive's checksums are not looked at: PyTorch can be told to leave them out.
    """
    file.seek(record.header_offset)
    name, extra = struct.unpack("<HH", file.read(30)[26:].ljust(4, b"\x00"))
    file.seek(name + extra, os.SEEK_CUR)


def _check_pickles(file: IO[bytes], pickles: int) -> None:
    """So many pickles in a row, from here on, are of the size and kind that a checkpoint has."""
    data = file.read(LARGEST_PICKLE)
    try:
        check_program(data, pickles)
    except CheckpointError:
        raise
    except DAMAGE as error:
        raise CheckpointError(
            f"Its list of tensors is damaged or has more than {LARGEST_PICKLE} bytes: "
            f"{DOWNLOAD_AGAIN}."
        ) from error


def _pickle_listing(path: str | Path, size: int) -> Any:
    """What the pickle holds, tensors without data; refuses those with more than the file has."""
    content = load_pickle(path, "meta", mapped=True)
    claimed = 0
    for tensor in _tensors(content):
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise CheckpointError(
                "It holds sparse or quantized tensors: convert its state dict to plain ones, in "
                "safetensors."
            )
        # Tensors may lie in one storage, and one may repeat its elements.
        claimed += tensor.nbytes
    if claimed > MOST_SHARING * size:
        raise CheckpointError(
            f"Its tensors would have {claimed} bytes, but the file has {size}: {DOWNLOAD_AGAIN}."
        )
    return content


def _tensors(content: Any) -> Iterator[Tensor]:
    """Every tensor in nested containers, which may contain themselves."""
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping | list | tuple | set) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, Mapping) else value)


def load_pickle(path: str | Path, device: str = "cpu", *, mapped: bool) -> Any:
    """A trainer's file: tensors and plain values only, so that no code in it can run.

    mapped: reads tensors when they are used; not for the format before PyTorch 1.6. Raises
    CheckpointError for other objects and damaged files.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except UnpicklingError as error:
        raise CheckpointError(
            "It holds Python objects beside its tensors, or is damaged; such files can run code, "
            "so convert its state dict to safetensors, or download the file again."
        ) from error
    except DAMAGE as error:
        raise CheckpointError(f"It is damaged: {DOWNLOAD_AGAIN}.") from error
