"""The one reader of checkpoint files: what a file is, whether it is whole, and its tensors.

A file from the internet may be cut off, a web page under another name, or made to exhaust the
memory. So its list of tensors is checked before a tensor is read, and whatever goes wrong ends in
one sentence. Source: the formats of safetensors and of `torch.save`.
"""

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import PickleError
from typing import IO, Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..shown import shown
from ..variants import Shapes
from .detect import CheckpointError
from .layout import StateDict, unwrap
from .pickles import TO_SAFETENSORS, TensorEntry
from .torch_file import (
    DOWNLOAD_AGAIN,
    LEGACY_START,
    ZIP_MAGIC,
    list_archive,
    list_legacy,
    read_tensors,
)

SAFETENSORS_SUFFIXES = (".safetensors", ".sft")
# The library's own limit. The host stores workflows in headers, so they may be large.
MAX_HEADER = 100_000_000

# First bytes -> what the file is, and what to do.
MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"PK", "a zip archive without its records", DOWNLOAD_AGAIN),
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
PICKLE_PROTOCOLS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

# What files can make Python, PyTorch and safetensors raise: bytes that no writer made, files that
# change while they are read, disks that fail.
FAILURES = (
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    BufferError,
    SyntaxError,
    zlib.error,
    zipfile.BadZipFile,
    struct.error,
    PickleError,
    SafetensorError,
)

Format = Literal["safetensors", "zip", "legacy"]
Check = Callable[[Shapes], None]
Load = Callable[[str], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file holds.

    tensors: by key, outside of the wrappers that trainers put around them. metadata: free text of
    safetensors. numbers: plain numbers beside the tensors of a pickle.
    """

    format: Format
    tensors: StateDict
    metadata: Mapping[str, str]
    numbers: Mapping[str, float]


def read_checkpoint(
    path: str | Path, *, check: Check | None = None, load: Load | None = None
) -> FileContent:
    """All tensors of a file, mapped where the format allows, so memory is taken on use.

    check: sees key -> shape before a tensor is read and may raise CheckpointError. load: reads the
    tensors of a safetensors file in place of the library, where a host has a way of its own.
    The host chooses the format by the name's ending, so content under another name is refused.
    Raises CheckpointError, which says what was found and what to do, for whatever fails.
    """
    path = os.fspath(path)
    with readable(), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        found = find_format(file.read(512), size)
        _check_suffix(path, found)
        if found == "safetensors":
            return _read_safetensors(path, file, check, load)
        listing = list_archive(file, size) if found == "zip" else list_legacy(file, size)
        entries = unwrap(listing.content, TensorEntry)
        if check is not None:
            check({key: entry.shape for key, entry in entries.items()})
        tensors = read_tensors(file, entries, listing.places)
        return FileContent(found, tensors, {}, _numbers(listing.content))


@contextmanager
def readable() -> Iterator[None]:
    """The boundary to files: any failure inside becomes a CheckpointError."""
    try:
        yield
    except (CheckpointError, torch.OutOfMemoryError):
        raise
    except OSError as error:
        raise CheckpointError(
            f"It cannot be read ({shown(error.strerror or error)}): check the file, its "
            "permissions and the disk."
        ) from error
    except FAILURES as error:
        raise CheckpointError(
            f"It is damaged ({shown(error) or type(error).__name__}): {DOWNLOAD_AGAIN}."
        ) from error


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Puts the file's name before the message of a CheckpointError."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{shown(os.path.basename(path))}: {error}") from error


def find_format(start: bytes, size: int) -> Format:
    """The format of a file of `size` bytes by its first 512; CheckpointError names any other.

    A number may look like any other format's first bytes, so a safetensors header, which has to fit
    into the file and to start with a brace, is looked for first.
    """
    if not size:
        raise CheckpointError(f"It is empty: {DOWNLOAD_AGAIN}.")
    length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and length <= MAX_HEADER:
        if 8 + length > size:
            raise CheckpointError(
                f"It has {size} bytes of at least {8 + length}: {DOWNLOAD_AGAIN}."
            )
        return "safetensors"
    if start.startswith(ZIP_MAGIC):
        return "zip"
    if start.startswith(LEGACY_START):
        return "legacy"
    if start.startswith(PICKLE_PROTOCOLS):
        raise CheckpointError(
            f"It is a pickle that PyTorch did not write, and such files can run code: "
            f"{TO_SAFETENSORS}."
        )
    known = next(((name, advice) for magic, name, advice in MAGIC if start.startswith(magic)), None)
    name, advice = known or (_describe(start), DOWNLOAD_AGAIN)
    raise CheckpointError(f"It is {name}, not a safetensors or PyTorch checkpoint: {advice}.")


def _describe(start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")):
        return "a web page"
    if not any(start):
        return "a file of zeros"
    if start[8:9] == b"{":
        return f"damaged, with a header of more than {MAX_HEADER} bytes or a text"
    try:
        start[:-4].decode("utf-8")  # the last character may be cut
    except UnicodeDecodeError:
        return "of an unknown format"
    return "a text file" if b"\x00" not in start else "of an unknown format"


def _check_suffix(path: str, found: Format) -> None:
    named_safetensors = path.lower().endswith(SAFETENSORS_SUFFIXES)
    if found == "safetensors" and not named_safetensors:
        raise CheckpointError(
            "It is a safetensors file under another name: rename it to end in .safetensors."
        )
    if found != "safetensors" and named_safetensors:
        raise CheckpointError(
            "It is a pickle of PyTorch and not a safetensors file: rename it to end in .ckpt."
        )


def _read_safetensors(
    path: str, file: IO[bytes], check: Check | None, load: Load | None
) -> FileContent:
    if not _is_utf8(path):
        raise CheckpointError(
            "Its path has bytes that are not UTF-8, which safetensors cannot open: rename it."
        )
    # NumPy's way of opening maps no tensors.
    with safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata() or {}
        shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    _check_doubles(file)
    if check is not None:
        check(shapes)
    return FileContent("safetensors", unwrap((load or load_file)(path)), metadata, {})


def _is_utf8(text: str) -> bool:
    return text.encode("utf-8", "replace").decode() == text


def _check_doubles(file: IO[bytes]) -> None:
    """The library takes a name that occurs twice, and another program could take the other one."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_refuse_doubles)


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        seen: set[str] = set()
        double = next(name for name in names if name in seen or seen.add(name))
        raise CheckpointError(
            f"Its header names {shown(double)} twice, which no program writes: {DOWNLOAD_AGAIN}."
        )


def _numbers(content: Any) -> dict[str, float]:
    items = content.items() if isinstance(content, dict) else ()
    return {k: float(v) for k, v in items if isinstance(k, str) and type(v) in (int, float)}
