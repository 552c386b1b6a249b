"""Guidance branches with one input: what precedes the first cross-attention is computed once.

The host samples the branches as one batch that repeats the noisy latent for each. Whether all else
before the cross-attention is the same, too, is known without comparing numbers, which would wait
for the device.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.conds
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .protocols import Patcher

# Where the host keeps the stock TorchCompileModel node's wrapper, which changes no input.
COMPILE_KEY = "torch.compile"


class SharedInput(comfy.conds.CONDConstant):
    """How many entries of a batch follow each other with one input; 1 where theirs differ.

    image: the concatenated latents as the conditioning has them, the same object in the branches
    of a usual graph, or None. speed: as the network gets it. area: of a regional prompt.
    """

    def __init__(self, image: Tensor | None, speed: int, area: Any = None):
        super().__init__((image, speed, area))

    def process_cond(self, batch_size: int, area: Any = None, **kwargs: Any) -> "SharedInput":
        del batch_size, kwargs
        image, speed, _ = self.cond
        return SharedInput(image, speed, area)

    def can_concat(self, other: comfy.conds.CONDRegular) -> bool:
        del other  # never a reason to sample apart
        return True

    def concat(self, others: Sequence[comfy.conds.CONDRegular]) -> int:
        image, speed, area = self.cond
        same = all(o.cond[0] is image and o.cond[1] == speed and o.cond[2] is None for o in others)
        return 1 + len(others) if same and area is None else 1


def may_share(patcher: Patcher | None) -> bool:
    """Whether the network gets the batch as the host made it."""
    return patcher is not None and "model_function_wrapper" not in patcher.model_options


def sees_branches(options: Mapping[str, Any]) -> bool:
    """Whether a node looks into the network, where it may tell the branches apart.

    options: the call's `transformer_options`.
    """
    wrappers = options.get("wrappers", {})
    around = set(wrappers.get(WrappersMP.DIFFUSION_MODEL, {}))
    around |= set(wrappers.get(WrappersMP.APPLY_MODEL, {})) - {COMPILE_KEY}
    inside = ("patches", "patches_replace", "optimized_attention_override")
    return bool(around) or any(options.get(name) for name in inside)
