"""Peak activation memory of the U-Net at real size, by counting live tensors on the meta device.

Runs anywhere in seconds, since nothing is computed. The figure is what an eager forward pass holds
above the weights, with attention that never builds its score matrix. ComfyUI estimates
`frames * h * w * bytes * 0.01 * factor` MiB for it; the last column is the factor that makes the
estimate equal to the count.

    python benchmarks/count_memory.py
"""

import argparse
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

sys.path.append(str(Path(__file__).resolve().parents[1]))

from dc_model.unet import DynamiCrafterUNet
from dc_model.variants import VARIANTS, UNetArch

MIB = 1024**2


class LiveBytes(TorchDispatchMode):
    """Sums the storages that are alive, and remembers the highest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(out)[0]:
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def meta_attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: Mapping[str, Any]
) -> Tensor:
    """Shape and memory of fused attention: only the output is new."""
    del k, v, heads, transformer_options
    return torch.empty_like(q)


def peak_mib(arch: UNetArch, size: tuple[int, int], frames: int, videos: int, dtype: Any) -> float:
    """Peak activations in MiB of one forward pass; size: latent (h, w)."""
    with torch.device("meta"):
        unet = DynamiCrafterUNet(arch, attention=meta_attention, dtype=dtype).eval()
        inputs = {
            "x": torch.empty(videos, arch.in_channels, frames, *size, dtype=dtype),
            "timesteps": torch.empty(videos),
            "context": torch.empty(videos, 77, arch.context_dim, dtype=dtype),
            "image_context": torch.empty(videos, 256, arch.context_dim, dtype=dtype),
            "speed": torch.empty(videos),
        }
        counter = LiveBytes()
        with torch.inference_mode(), counter:
            unet(**inputs)
    return counter.peak / MIB


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[16])
    options = parser.parse_args()
    dtype, bytes_per_value = torch.float16, 2
    print("variant  frames  videos  peak MiB  factor")
    for name in ("256", "512", "1024"):
        height, width = (side // 8 for side in VARIANTS[name].size)
        for frames in options.frames:
            for videos in (1, 2):
                peak = peak_mib(UNetArch(), (height, width), frames, videos, dtype)
                area = videos * frames * height * width
                factor = peak / (area * bytes_per_value * 0.01)
                print(f"{name:8} {frames:6} {videos:7} {peak:9.0f} {factor:7.2f}")


if __name__ == "__main__":
    main()
