"""Checkpoint files through the reader, with the host's own mapping where it has one."""

import comfy.utils
from torch import Tensor

from ...dc_model.checkpoint.inspect import Check, FileContent, read_checkpoint
from ...dc_model.checkpoint.layout import refuse_foreign


def _host_load(path: str) -> dict[str, Tensor]:
    # Its tensors know their place in the file, from which DynamicVRAM reads them again.
    return comfy.utils.load_torch_file(path, safe_load=True)


def read_family_file(path: str, check: Check | None = refuse_foreign) -> FileContent:
    """A file of this family, or one that `check` lets pass; CheckpointError for any other."""
    return read_checkpoint(path, check=check, load=_host_load)
