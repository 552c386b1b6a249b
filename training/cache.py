"""Encoded clips and captions on disk, for the next epochs, runs and processes.

An entry is named by what was encoded, not by where it came from: the pixels or tokens themselves,
below a folder named by the encoders' weights. So another size, crop, file, tokenizer or encoder
never meets an old entry. Files are written whole and renamed: processes may share the folder, and
an interrupted run leaves no half entry.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .files import write_whole

ENTRY = "value"


def digest(*tensors: Tensor) -> str:
    """A name for the exact values, shapes and types of tensors."""
    hashed = hashlib.blake2b(digest_size=20)
    for tensor in tensors:
        hashed.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        hashed.update(raw.numpy().data)
    return hashed.hexdigest()


def fingerprint(modules: Iterable[nn.Module], *settings: str) -> str:
    """A name for encoders: all their weights, and whatever else changes what they give."""
    hashed = hashlib.blake2b("\n".join(settings).encode(), digest_size=20)
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            hashed.update(f"{name} {digest(tensor)}".encode())
    return hashed.hexdigest()


class DiskCache:
    """Half-precision tensors by name, each in a safetensors file of its own."""

    def __init__(self, folder: Path, encoders: str):
        self.folder = folder / encoders

    def path(self, name: str) -> Path:
        # Not too many files in one folder.
        return self.folder / name[:2] / f"{name}.safetensors"

    def get(self, name: str) -> Tensor | None:
        """The entry, or None where there is none or its file is damaged."""
        try:
            return load_file(self.path(name))[ENTRY]
        except (FileNotFoundError, SafetensorError, KeyError):
            return None

    def put(self, name: str, value: Tensor) -> None:
        entry = {ENTRY: value.half().cpu().contiguous()}
        write_whole(self.path(name), lambda part: save_file(entry, part))
