"""The one reader of checkpoint files: what a file is, whether it is whole, and its tensors.

A file may be cut off, a web page under another name, or made to exhaust the memory. So its list of
tensors is checked before a tensor is read, and whatever goes wrong ends in one sentence.
"""

import io
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..shown import shown
from ..variants import Shapes
from .errors import DOWNLOAD_AGAIN, TO_SAFETENSORS, CheckpointError, readable, require_genuine
from .layout import StateDict, shapes, unwrap
from .torch_file import LEGACY_START, ZIP_MAGIC, read_archive, read_legacy

CHOOSE = "choose a checkpoint that ends in safetensors or ckpt"
SAFETENSORS_SUFFIXES = (".safetensors", ".sft")
# What the first bytes show, and what to do.
KINDS = (
    (rb"PK", "a zip archive without its records", DOWNLOAD_AGAIN),
    (rb"\x80[\x02-\x05]", "a pickle of another program, which can run code", TO_SAFETENSORS),
    (rb"GGUF|\x89HDF", "a GGUF or HDF5 file", CHOOSE),
    (
        rb"\x1f\x8b|7z\xbc|\xfd7z|Rar!|\x28\xb5|BZh",
        "a gzip, 7z, RAR or other archive",
        "unpack it",
    ),
    (rb".{257}ustar", "a tar archive, as of PyTorch before 0.4", TO_SAFETENSORS),
    (rb"\x89PNG|\xff\xd8\xff|RIFF|.{4}ftyp", "a picture (PNG, JPEG or similar) or a video", CHOOSE),
    (rb"version https://git-lfs", "a Git LFS pointer", "download the file that it points to"),
    (rb"(\xef\xbb\xbf)?\s*<[!?\w]", "a web page", DOWNLOAD_AGAIN),
    (rb'\s*\{.*"weight_map"', "an index of a file in parts", "choose a single file"),
    (rb".{8}\{", "cut off within its header, or a text file", DOWNLOAD_AGAIN),
    (rb"\Z", "empty", DOWNLOAD_AGAIN),
    (rb"\0+\Z", "a file of zeros", DOWNLOAD_AGAIN),
    # In UTF-8, whose last letter may be cut.
    (rb"([\s -~]|[\xc2-\xf4][\x80-\xbf]{1,3})*[\xc2-\xf4]?\Z", "a text file", DOWNLOAD_AGAIN),
    (rb"", "of an unknown format", DOWNLOAD_AGAIN),
)

Check = Callable[[Shapes], None]
Load = Callable[[str], Mapping[str, Tensor]]


class FileContent(NamedTuple):
    """What a file holds: tensors by key, out of the wrappers that trainers put around them."""

    tensors: StateDict
    metadata: Mapping[str, str] = {}  # of safetensors
    numbers: Mapping[str, float] = {}  # beside the tensors of a pickle


def read_checkpoint(
    path: str | Path, *, check: Check | None = None, load: Load = load_file
) -> FileContent:
    """All tensors of a file, mapped where the format allows, so memory is taken on use.

    check: sees key -> shape before a tensor is read and may raise CheckpointError. load: reads the
    tensors of a safetensors file, where a host has a way of its own. The host chooses the format by
    the name's ending, so content under another name is refused. Raises CheckpointError, which says
    what was found and what to do, for whatever fails.
    """
    path = os.fspath(path)
    with readable(), open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        found = find_format(file.read(512), size)
        if path.lower().endswith(SAFETENSORS_SUFFIXES) != (found == "safetensors"):
            suffix = ".safetensors" if found == "safetensors" else ".ckpt"
            raise CheckpointError(
                f"Its content does not match its name: rename it to end in {suffix}."
            )
        if found == "safetensors":
            return _read_safetensors(path, file, check, load)
        content, unread = (read_archive if found == "zip" else read_legacy)(file, size)
        tensors = unwrap(content)
        if check is not None:
            check(shapes(tensors))
        for data, start in unread:
            file.seek(start)
            read = file.readinto(memoryview(data.numpy()))  # type: ignore[arg-type]
            require_genuine(read == len(data), "the file became shorter")
        numbers = {k: float(v) for k, v in content.items() if type(v) in (int, float)}
        return FileContent(tensors, numbers=numbers)


def open_file(path: str | Path) -> io.BufferedReader:
    """A file to read. Raises CheckpointError for a pipe, which would never end, and the like."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise CheckpointError("It is a folder, a pipe or a device: choose a checkpoint file.")
    return open(path, "rb")


def find_format(start: bytes, size: int) -> str:
    """safetensors, zip or legacy, by a file's first 512 bytes; CheckpointError names any other.

    A number may look like any other format's first bytes, so a safetensors header, which has to fit
    into the file's `size` and to start with a brace, is looked for first.
    """
    if start[8:9] == b"{" and 8 + int.from_bytes(start[:8], "little") <= size:
        return "safetensors"
    if start.startswith((ZIP_MAGIC, LEGACY_START)):
        return "zip" if start.startswith(ZIP_MAGIC) else "legacy"
    name, advice = next(kind[1:] for kind in KINDS if re.match(kind[0], start, re.S))
    raise CheckpointError(f"It is {name}, not a safetensors or PyTorch checkpoint: {advice}.")


def _read_safetensors(
    path: str, file: io.BufferedReader, check: Check | None, load: Load
) -> FileContent:
    if any("\ud800" <= letter <= "\udfff" for letter in path):
        raise CheckpointError(
            "Its path has bytes that are not UTF-8, which safetensors cannot open: rename it."
        )
    # The library checks types, shapes and places; NumPy's way of opening maps no tensors.
    with safe_open(path, framework="numpy"):
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length), object_pairs_hook=_without_doubles)
    metadata = header.pop("__metadata__", None) or {}
    if check is not None:
        check({key: tuple(entry["shape"]) for key, entry in header.items()})
    tensors = load(path)
    require_genuine(tensors.keys() == header.keys(), "the file changed")
    return FileContent(unwrap(tensors), metadata)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The library takes a name that occurs twice, and another program could take the other one."""
    (name, times), *_ = Counter(name for name, _ in pairs).most_common(1) or [("", 0)]
    if times > 1:
        raise CheckpointError(f"Its header names {shown(name)} twice: {DOWNLOAD_AGAIN}.")
    return dict(pairs)
