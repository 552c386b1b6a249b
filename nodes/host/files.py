"""Reads checkpoint files: checked and refused by their header, tensors mapped, not copied."""

import comfy.utils

from ...dc_model.checkpoint.inspect import FileContent, inspect_file, load_pickle
from ...dc_model.checkpoint.layout import StateDict, refuse_foreign, shapes, unwrap


def read_checkpoint(path: str) -> tuple[StateDict, dict[str, str]]:
    """Tensors of a file in any of the family's layouts, and its metadata.

    Nothing is copied where the format allows: safetensors and today's pickles are mapped, so that
    memory is taken when a tensor is used. Raises CheckpointError for a file that is damaged, holds
    other objects than tensors, or is of another family; before a tensor is read where the format
    has a header.
    """
    content = inspect_file(path)
    if content.format == "safetensors":
        refuse_foreign(content.shapes)
    elif content.listing is not None:
        refuse_foreign(shapes(unwrap(content.listing)))
    return _read(path, content), dict(content.metadata)


def read_tensors(path: str) -> StateDict:
    """Tensors of any file, as `read_checkpoint` but without a look at its family."""
    return _read(path, inspect_file(path))


def _read(path: str, content: FileContent) -> StateDict:
    if content.format == "safetensors":
        return unwrap(comfy.utils.load_torch_file(path, safe_load=True))
    return unwrap(load_pickle(path, mapped=content.format == "zip"))
