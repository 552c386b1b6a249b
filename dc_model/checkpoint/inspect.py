"""The one reader of checkpoint files: what a file is, whether it is whole, and its tensors.

A file from the internet may be cut off, a web page under another name, or made to exhaust the
memory. So its list of tensors is checked before a tensor is read, and whatever goes wrong ends in
one sentence. Source: the formats of safetensors and of `torch.save`.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..shown import shown
from ..variants import Shapes
from .detect import CheckpointError
from .layout import StateDict, shapes, unwrap
from .pickles import TO_SAFETENSORS
from .torch_file import LEGACY_START, ZIP_MAGIC, read_archive, read_legacy, read_rest

DOWNLOAD_AGAIN = "the download is probably incomplete; download the file again"
SAFETENSORS_SUFFIXES = (".safetensors", ".sft")
# What the first bytes show, and what to do.
KINDS = (
    (rb"PK", "a zip archive without its records", DOWNLOAD_AGAIN),
    (rb"\x80[\x02-\x05]", "a pickle of another program, which can run code", TO_SAFETENSORS),
    (rb"GGUF", "a GGUF file", "choose the safetensors or ckpt file"),
    (rb"\x1f\x8b", "a gzip archive", "unpack it"),
    (rb"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (rb"Rar!", "a RAR archive", "unpack it"),
    (rb"\x89PNG", "a PNG picture", "choose a checkpoint"),
    (rb"\xff\xd8\xff", "a JPEG picture", "choose a checkpoint"),
    (rb"\x89HDF", "an HDF5 file", "choose the safetensors or ckpt file"),
    (rb"version https://git-lfs", "a Git LFS pointer", "download the file that it points to"),
    (rb"(?i:(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|head|!--))", "a web page", DOWNLOAD_AGAIN),
    (rb".{8}\{", "cut off in its header, or a text", DOWNLOAD_AGAIN),
    (rb"\Z", "empty", DOWNLOAD_AGAIN),
    (rb"\0+\Z", "a file of zeros", DOWNLOAD_AGAIN),
    # In UTF-8, whose last letter may be cut.
    (rb"([\s -~]|[\xc2-\xf4][\x80-\xbf]{1,3})*[\xc2-\xf4]?\Z", "a text file", DOWNLOAD_AGAIN),
    (rb"", "of an unknown format", DOWNLOAD_AGAIN),
)

Format = Literal["safetensors", "zip", "legacy"]
Check = Callable[[Shapes], None]
Load = Callable[[str], Mapping[str, Tensor]]


class FileContent(NamedTuple):
    """What a file holds.

    tensors: by key, outside of the wrappers that trainers put around them. metadata: free text of
    safetensors. numbers: plain numbers beside the tensors of a pickle.
    """

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
        safe = found == "safetensors"
        if path.lower().endswith(SAFETENSORS_SUFFIXES) != safe:
            suffix = ".safetensors" if safe else ".ckpt"
            raise CheckpointError(
                f"It has another format than its name: rename it to end in {suffix}."
            )
        if safe:
            return _read_safetensors(path, file, check, load)
        content, unread = (read_archive if found == "zip" else read_legacy)(file, size)
        tensors = unwrap(content)
        if check is not None:
            check(shapes(tensors))
        read_rest(file, unread)
        numbers = {k: float(v) for k, v in content.items() if type(v) in (int, float)}
        return FileContent(tensors, {}, numbers)


@contextmanager
def readable() -> Iterator[None]:
    """The boundary to files: any failure inside becomes a CheckpointError.

    Files make Python, PyTorch and safetensors raise anything: by bytes that no writer made, by
    changes while they are read, by disks that fail.
    """
    try:
        yield
    except (CheckpointError, torch.OutOfMemoryError):
        raise
    except OSError as error:
        raise CheckpointError(
            f"It cannot be read ({shown(error.strerror or error)}): check the file, its "
            "permissions and the disk."
        ) from error
    except Exception as error:
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
    if start[8:9] == b"{" and 8 + int.from_bytes(start[:8], "little") <= size:
        return "safetensors"
    if start.startswith(ZIP_MAGIC):
        return "zip"
    if start.startswith(LEGACY_START):
        return "legacy"
    name, advice = next(kind[1:] for kind in KINDS if re.match(kind[0], start, re.S))
    raise CheckpointError(f"It is {name}, not a safetensors or PyTorch checkpoint: {advice}.")


def _read_safetensors(
    path: str, file: IO[bytes], check: Check | None, load: Load | None
) -> FileContent:
    if any("\ud800" <= letter <= "\udfff" for letter in path):
        raise CheckpointError(
            "Its path has bytes that are not UTF-8, which safetensors cannot open: rename it."
        )
    # NumPy's way of opening maps no tensors.
    with safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata() or {}
        found = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    json.loads(file.read(length), object_pairs_hook=_refuse_doubles)
    if check is not None:
        check(found)
    return FileContent(unwrap((load or load_file)(path)), metadata, {})


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> None:
    """The library takes a name that occurs twice, and another program could take the other one."""
    names = Counter(name for name, _ in pairs)
    if len(names) < len(pairs):
        double = shown(names.most_common(1)[0][0])
        raise CheckpointError(f"Its header names {double} twice: {DOWNLOAD_AGAIN}.")
