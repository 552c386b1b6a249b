"""Stock nodes that are made for another kind of model: refused in words, before long work."""

import inspect
from typing import Any, NoReturn

import comfy.model_sampling
import torch

from ..checks import InputError

# Guidances that compare one number for the whole batch, the input that rules them, and the value
# at which they do not.
_SINGLE_IMAGE = {"RenormCFG": ("renorm_cfg", 0.0), "TemporalScoreRescaling": ("tsr_k", 1.0)}
_REMEDY = "is made for another kind of model; take it out."


class SaysWhatItIs(torch.nn.Module):
    """A module that answers in words when a node asks for what it does not have."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            raise AttributeError(
                f"{type(self).__name__} has no `{name}`: this is a DynamiCrafter model, and the "
                f"node that asks for it {_REMEDY}"
            ) from None


def refuse_call() -> NoReturn:
    """InputError where a node calls the U-Net as the network that it expects."""
    raise InputError(
        f"This is a DynamiCrafter model, and the node that runs it on an image {_REMEDY}"
    )


def refuse_flow(sampling: Any) -> None:
    """InputError when a node put a flow model's sampling in place of ours."""
    flows = (comfy.model_sampling.CONST, comfy.model_sampling.COSMOS_RFLOW)
    if isinstance(sampling, flows):
        raise InputError(
            f"A node replaced the model's sampling by {type(sampling).__mro__[1].__name__}, which "
            "is for flow models; take that ModelSampling node out."
        )


def refuse_patches(patcher: Any, rows: int) -> None:
    """InputError where a node's patch cannot work on a batch of `rows` frames."""
    if patcher is None or rows == 1:
        return
    options = patcher.model_options
    patches = options.get("transformer_options", {}).get("patches", {})
    if any(type(patch).__name__ == "KV_Attn_Input" for patch in patches.get("attn1_patch", ())):
        raise InputError(f"FluxKVCache {_REMEDY}")
    for function in (
        options.get("sampler_cfg_function"),
        *options.get("sampler_post_cfg_function", ()),
    ):
        node = getattr(function, "__qualname__", "").split(".")[0]
        if node not in _SINGLE_IMAGE:
            continue
        name, neutral = _SINGLE_IMAGE[node]
        if inspect.getclosurevars(function).nonlocals.get(name) != neutral:
            raise InputError(
                f"{node} takes single images and cannot guide {rows} frames; set its {name} to "
                f"{neutral:g}, or take it out and use guidance_rescale of Dual-Attention Sampler."
            )
