"""Checkpoint files to read, and what reading them may cost."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from memory import peak_memory, reset_peak_memory

from dc_model.checkpoint.errors import CheckpointError
from dc_model.checkpoint.inspect import read_checkpoint

# Headers and listings are a few kilobytes here; a reader that believes a claim takes gigabytes.
MEMORY_LIMIT = 200 * 1024**2
TENSORS = {
    "model.diffusion_model.input_blocks.0.0.weight": torch.arange(288.0).view(4, 8, 3, 3),
    "alphas_cumprod": torch.linspace(1, 0, 10),
    "model.diffusion_model.out.2.bias": torch.ones(4, dtype=torch.float16),
}
SUFFIX = {"safetensors": ".safetensors", "zip": ".ckpt", "legacy": ".ckpt"}


def read(path: Path) -> dict[str, torch.Tensor]:
    """All that the loader does to a file before its tensors become weights."""
    return read_checkpoint(path).tensors


def read_or_refuse(path: Path, limit: int = MEMORY_LIMIT) -> str | None:
    """None for a file that reads, else the message; any other exception fails the test.

    limit: bytes that reading may take.
    """
    reset_peak_memory(os.getpid())
    before = peak_memory(os.getpid())
    try:
        read(path)
    except CheckpointError as error:
        return str(error)
    finally:
        assert peak_memory(os.getpid()) - before < limit
    return None


def refused(path: Path, limit: int = MEMORY_LIMIT) -> str:
    message = read_or_refuse(path, limit)
    assert message is not None, "the file was read"
    assert message.endswith(".")
    assert "\n" not in message
    return message


def safetensors(path: Path, header: Any, data: int = 0) -> Path:
    """A file with this header (an object or raw bytes) followed by so many bytes of zeros."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(data))
    return path


def entry(shape: Any, start: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def rewritten(
    data: bytes, path: Path, change: Callable[[str, bytes], bytes | None], **options: Any
) -> Path:
    """A zip checkpoint whose records went through `change`; None drops one."""
    (path.parent / "source").write_bytes(data)
    with zipfile.ZipFile(path.parent / "source") as source, zipfile.ZipFile(path, "w") as target:
        for record in source.infolist():
            changed = change(record.filename, source.read(record))
            if changed is not None:
                target.writestr(record.filename, changed, **options)
    return path
