"""The host's patch points, as plain data.

Stock nodes (FreeU, PerturbedAttentionGuidance, HyperTile, ToMe, ControlNet, ...) leave functions in
`transformer_options["patches"]`, `["patches_replace"]` and residuals in `control`. This module
reads them; without a host all of it is empty. Order: docs/comfyui.md#patches.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

TransformerOptions = dict[str, Any]
Control = Mapping[str, list[Tensor | None]]


def patches(options: Mapping[str, Any], name: str) -> list[Callable]:
    """The functions that stock nodes registered under `name`."""
    return options.get("patches", {}).get(name, [])


def replacement(options: Mapping[str, Any], name: str) -> Callable | None:
    """The function that replaces attention `name` in this block, the most specific key first."""
    replacements = options.get("patches_replace", {}).get(name, {})
    block = options.get("block")
    if not replacements or block is None:
        return None
    exact = (block[0], block[1], options.get("block_index", 0))
    return replacements.get(exact, replacements.get(block))


def attention_options(options: Mapping[str, Any], heads: int, head_dim: int) -> TransformerOptions:
    """What an attention patch gets as `extra_options`."""
    extra = {k: v for k, v in options.items() if k not in ("patches", "patches_replace")}
    return {**extra, "n_heads": heads, "dim_head": head_dim, "attn_precision": torch.float32}


def apply_each(functions: list[Callable], x: Tensor, *args: Any) -> Tensor:
    """`x` through all functions in turn."""
    for function in functions:
        x = function(x, *args)
    return x


def add_control(x: Tensor, control: Control | None, name: str) -> Tensor:
    """`x` plus the next ControlNet residual of `name` (`input`, `middle`, `output`).

    Residuals are consumed from the end, as the host's own U-Net does. Raises ValueError when a
    residual does not fit.
    """
    if control is None or not control.get(name):
        return x
    residual = control[name].pop()
    if residual is None:
        return x
    if residual.shape[1:] != x.shape[1:] or residual.shape[0] not in (1, x.shape[0]):
        raise ValueError(
            f"The ControlNet's {name} residual is {tuple(residual.shape)}, but the model's "
            f"features are {tuple(x.shape)}: use a ControlNet made for SD 2.x (320 channels), with "
            "one hint for all frames or one for each."
        )
    return x + residual.to(x)
