"""Patches for parameters that belong to no layer of the host: learned gates, position tables.

The host merges and patches weights layer by layer, and passes such parameters over. Without this,
two models with learned gates would be merged with the gates of the first.
"""

from collections.abc import Iterator

import comfy.patcher_extension
import torch
from torch import nn

from .protocols import Patcher

CALLBACK_KEY = "dynamicrafter_bare_parameters"


def bare_parameters(model: nn.Module) -> Iterator[str]:
    """Keys of the parameters outside of the host's layers."""
    for name, module in model.named_modules():
        if hasattr(module, "comfy_cast_weights"):
            continue
        for parameter, _ in module.named_parameters(recurse=False):
            yield f"{name}.{parameter}"


def patch_bare_parameters(patcher: Patcher, device_to: torch.device | None, *_: object) -> None:
    """Called by the host after it loaded a model, wholly or in part."""
    for key in bare_parameters(patcher.model):
        # What has a backup is patched already; DynamicVRAM keeps one of unpatched values, too.
        if key in patcher.patches and (patcher.is_dynamic() or key not in patcher.backup):
            patcher.patch_weight_to_device(key, device_to=device_to)


def patch_on_load(patcher: Patcher) -> None:
    """Make the host call `patch_bare_parameters` for this patcher and its clones."""
    patcher.add_callback_with_key(
        comfy.patcher_extension.CallbacksMP.ON_LOAD, CALLBACK_KEY, patch_bare_parameters
    )
