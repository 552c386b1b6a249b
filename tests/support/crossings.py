"""Where a computation stops the device: numbers read by Python, copies between devices."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Crossings(TorchDispatchMode):
    """Names of the operators that wait for the device, in the order in which they ran."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        # A scalar tensor on the CPU enters another device's kernels as a number.
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.ndim]
        devices = {x.device for x in [*given, *tree_leaves(out)] if isinstance(x, Tensor)}
        if name in ("_local_scalar_dense", "nonzero") or (
            name in ("_to_copy", "copy_")
            and len(devices) > 1
            and not (kwargs or {}).get("non_blocking")
        ):
            self.found.append(name)
        return out
