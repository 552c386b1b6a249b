"""What a file that is not as it should be raises, and the boundaries that turn failures into it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..shown import shown

DOWNLOAD_AGAIN = "the download is probably incomplete; download the file again"
# How PyTorch begins what `load_state_dict` raises.
_LOADING = "Error(s) in loading state_dict"
TO_SAFETENSORS = "convert its state dict to safetensors"


class CheckpointError(ValueError):
    """A file that is not what it should be; the message says what to do."""


def require_genuine(fits: bool, found: str) -> None:
    """ValueError for bytes that no writer made, with what was `found`; `readable` adds a remedy."""
    if not fits:
        raise ValueError(found)


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
        reason = shown(error) or type(error).__name__
        if is_of_memory(error):
            raise CheckpointError(
                f"There is too little memory to read it ({reason}): close other programs, or "
                "choose a smaller file."
            ) from error
        raise CheckpointError(f"It is damaged ({reason}): {DOWNLOAD_AGAIN}.") from error


def is_of_memory(error: Exception) -> bool:
    """Whether memory ran out: PyTorch says so in words, beside which keys of a file may stand."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    said = any(words in text for words in ("allocate memory", "out of memory"))
    return said and not text.startswith(_LOADING)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Puts the file's name before the message of a CheckpointError."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{shown(os.path.basename(path))}: {error}") from error


@contextmanager
def fitting(part: str) -> Iterator[None]:
    """Turns what building a part from a file's shapes raises into a CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except (LookupError, ValueError, ArithmeticError, RuntimeError) as error:
        if is_of_memory(error):
            raise
        raise CheckpointError(
            f"The file's {part} has an unknown layout ({shown(_one_fault(str(error)))}); download "
            "the file again, or choose another."
        ) from error


def _one_fault(text: str) -> str:
    """Of a message in which PyTorch lists every key and every tensor of another shape."""
    _, mismatch, rest = text.rpartition("size mismatch for ")
    if not mismatch and text.startswith(_LOADING):
        rest = text.partition("\n")[2].strip()
    return rest.partition("\n")[0]
