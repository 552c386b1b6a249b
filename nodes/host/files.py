"""Checkpoint files through the reader, with the host's own mapping where it has one."""

import comfy.utils
from torch import Tensor

from ...dc_model.checkpoint.inspect import FileContent
from ...dc_model.checkpoint.inspect import read_checkpoint as read
from ...dc_model.checkpoint.layout import StateDict, refuse_foreign


def _host_load(path: str) -> dict[str, Tensor]:
    # Its tensors know their place in the file, from which DynamicVRAM reads them again.
    return comfy.utils.load_torch_file(path, safe_load=True)


def read_checkpoint(path: str) -> FileContent:
    """A file of this family; CheckpointError for any other, before a tensor is read."""
    return read(path, check=refuse_foreign, load=_host_load)


def read_tensors(path: str) -> StateDict:
    """The tensors of any file."""
    return read(path, load=_host_load).tensors
