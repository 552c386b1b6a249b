"""What a file that is not as it should be raises, and the boundaries that turn failures into it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..shown import shown

DOWNLOAD_AGAIN = "the download is probably incomplete; download the file again"
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


@contextmanager
def fitting(part: str) -> Iterator[None]:
    """Turns what building a part from a file's shapes raises into a CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except (LookupError, ValueError, ArithmeticError, RuntimeError) as error:
        if "memory" in str(error):
            raise
        # PyTorch lists every tensor of another shape.
        one = str(error).rpartition("size mismatch for ")[2].partition("\n")[0]
        raise CheckpointError(
            f"The file's {part} has an unknown layout ({shown(one)}); download the file again, "
            "or choose another."
        ) from error
