"""What one call of the U-Net must compute and move, counted on the meta device.

The model of a device: every operator reads its inputs and writes its outputs once, and takes the
longer of the time for its floating-point operations and the time for its bytes. Views are free,
attention is one operator that never stores its scores. The limit is the products alone: their
operations at the full rate, nothing moved.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import VARIANTS, UNetArch

# The rates that the least time is counted with: bf16 products and memory of one large card.
FLOPS_PER_SECOND = 790e12
BYTES_PER_SECOND = 4.3e12
SIZES = ("256", "512", "1024")
# The two branches of classifier-free guidance in one call.
BRANCHES = 2
TEXT_TOKENS, IMAGE_TOKENS = 77, 256

# Not marked as views, yet nothing is moved.
_FREE = {
    torch.ops.aten._unsafe_view.default,
    torch.ops.aten.empty_like.default,
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.new_empty.default,
    torch.ops.aten.lift_fresh.default,
}


@dataclass
class Cost:
    """Of a set of operators: FLOP, bytes read and written, number, and seconds at least."""

    flops: float = 0
    bytes: float = 0
    operators: int = 0
    seconds: float = 0
    bytes_of: Counter[str] = field(default_factory=Counter)
    seconds_of: dict[str, float] = field(default_factory=dict)

    @property
    def limit(self) -> float:
        """Seconds of the products alone."""
        return self.flops / FLOPS_PER_SECOND

    def add(self, name: str, flops: float, moved: float) -> None:
        """One more operator."""
        seconds = max(flops / FLOPS_PER_SECOND, moved / BYTES_PER_SECOND)
        self.flops += flops
        self.bytes += moved
        self.operators += 1
        self.seconds += seconds
        self.bytes_of[name] += int(moved)
        self.seconds_of[name] = self.seconds_of.get(name, 0) + seconds


class CountCost(TorchDispatchMode):
    """Sums the cost of all operators that run within it."""

    def __init__(self) -> None:
        super().__init__()
        self.cost = Cost()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.is_view or func in _FREE:
            return out
        count = flop_registry.get(func.overloadpacket)
        flops = count(*args, **kwargs, out_val=out) if count else 0
        read = (args, {name: value for name, value in kwargs.items() if name != "out"})
        moved = sum(map(_size, _tensors(read))) + sum(map(_size, _tensors(out)))
        self.cost.add(func.overloadpacket.__name__, flops, moved)
        return out


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def _size(tensor: Tensor) -> int:
    """Bytes of the values that a tensor shows; an expanded one shows its values only once."""
    repeated = [n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride == 0]
    values = tensor.numel()
    for count in repeated:
        values //= max(count, 1)
    return values * tensor.element_size()


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: Mapping[str, Any]
) -> Tensor:
    """`dc_model.unet.ops.Attention` as one operator on the meta device."""
    del transformer_options
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    out = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]
    return out.transpose(1, 2).flatten(-2)


def count(run: Callable[[], object]) -> Cost:
    """Cost of `run` on the meta device."""
    # In inference mode, composite operators would arrive whole.
    with torch.inference_mode(False), torch.no_grad(), torch.device("meta"), CountCost() as mode:
        run()
    return mode.cost


def count_unet(
    arch: UNetArch,
    size: tuple[int, int],
    frames: int = 16,
    videos: int = 1,
    branches: int = BRANCHES,
    dtype: torch.dtype = torch.bfloat16,
) -> Cost:
    """Cost of one call of the U-Net; size: latent (h, w); branches share noise and image."""
    with torch.device("meta"):
        unet = DynamiCrafterUNet(arch, attention=fused_attention, dtype=dtype)
        unet.eval().requires_grad_(False)  # products whose weights learn are laid out otherwise
        inputs = unet_inputs(arch, size, frames, videos, branches, dtype)
        return count(lambda: unet(**inputs))


def unet_inputs(
    arch: UNetArch,
    size: tuple[int, int],
    frames: int,
    videos: int = 1,
    branches: int = BRANCHES,
    dtype: torch.dtype = torch.bfloat16,
) -> dict[str, Tensor]:
    """Inputs of one call, by name; size: latent (h, w)."""
    rows = videos * branches
    return {
        "x": torch.empty(videos, arch.in_channels, frames, *size, dtype=dtype),
        "timesteps": torch.empty(rows),
        "context": torch.empty(rows, TEXT_TOKENS, arch.context_dim, dtype=dtype),
        "image_context": torch.empty(rows, IMAGE_TOKENS, arch.context_dim, dtype=dtype),
        "speed": torch.empty(rows),
    }


def latent_size(name: str) -> tuple[int, int]:
    """Latent (h, w) of a published size."""
    height, width = VARIANTS[name].size
    return height // 8, width // 8
