"""Memory of the published sizes, counted on the meta device: weights, streaming, activations.

Runs anywhere in seconds, since nothing is computed. Three tables:

- Weights of the networks that this pack brings, for each type they can be stored in.
- What of the U-Net stays on a card when ComfyUI loads it partially: it takes the layers with the
  largest weights first, as long as they fit beside a buffer for what streams.
- Peak activations of a forward pass above the weights, with attention that never builds its score
  matrix. ComfyUI estimates `frames * h * w * bytes * 0.01 * factor` MiB; the last column is the
  factor that makes that equal to the count; `nodes/host/model.py` has the one that is used.

    python -m benchmarks.count_memory
"""

import argparse
import math
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from dc_model.projection import ProjectionArch, Resampler
from dc_model.toon.dual_reference_vae import DualReferenceArch, DualReferenceVAE
from dc_model.toon.sketch_controlnet import SketchControlArch, SketchControlNet
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import VARIANTS, UNetArch

MIB = 1024**2
# Layers that the host's streams may hold at once besides the one that computes.
STREAMS = 2
BUDGETS = (0, 512, 1024, 2048)


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


def networks() -> dict[str, nn.Module]:
    """The networks of the published sizes, without memory."""
    with torch.device("meta"):
        return {
            "U-Net": DynamiCrafterUNet(UNetArch()),
            "query transformer": Resampler(ProjectionArch()),
            "ToonCrafter's VAE": DualReferenceVAE(DualReferenceArch()),
            "sketch ControlNet": SketchControlNet(SketchControlArch()),
        }


def weight_mib(network: nn.Module, bytes_per_value: int) -> float:
    """Weights in MiB; norms and biases stay at 2 bytes when the others have 1."""
    sizes = [
        p.numel() * (max(bytes_per_value, 2) if p.ndim < 2 else bytes_per_value)
        for p in network.parameters()
    ]
    return sum(sizes) / MIB


def resident_mib(
    network: nn.Module, bytes_per_value: int, budget: float, streams: int = STREAMS
) -> tuple[float, float]:
    """MiB that stay on the card when `budget` MiB are free for weights, and of the buffer.

    The rule of the host's `ModelPatcher.load`, without LoRAs and for weights that need no cast.
    """
    layers = sorted(
        (sum(p.numel() for p in module.parameters()) * bytes_per_value / MIB
         for module in network.modules()
         if list(module.parameters(recurse=False)) and not list(module.children())),
        reverse=True,
    )  # fmt: skip
    resident = buffer = 0.0
    for i, size in enumerate(layers):
        wanted = max(buffer, sum(layers[i : i + 1 + streams]))
        if resident + size + wanted < budget:
            resident += size
        else:
            buffer = wanted
    return resident, buffer


def print_weights() -> None:
    """Table of weights by type, and of what partial loading leaves."""
    print("network            values    fp32    16 bit   8 bit (MiB)")
    for name, network in networks().items():
        values = sum(p.numel() for p in network.parameters())
        sizes = [weight_mib(network, count) for count in (4, 2, 1)]
        print(f"{name:18} {values / 1e6:5.0f} M  " + "  ".join(f"{size:6.0f}" for size in sizes))
    unet = networks()["U-Net"]
    print("\nU-Net, 16 bit: MiB free for weights, resident, buffer for the streams")
    for budget in (*BUDGETS, math.inf):
        resident, buffer = resident_mib(unet, 2, budget)
        print(f"{budget:10.0f} {resident:10.0f} {buffer:8.0f}")


def print_activations(frame_counts: list[int]) -> None:
    """Table of peak activations in 16 bits."""
    print("\nvariant  frames  videos  peak MiB  factor")
    for name in ("256", "512", "1024"):
        height, width = (side // 8 for side in VARIANTS[name].size)
        for frames in frame_counts:
            for videos in (1, 2):
                peak = peak_mib(UNetArch(), (height, width), frames, videos, torch.float16)
                unit = videos * frames * height * width * 2 * 0.01  # MiB for a factor of 1
                print(f"{name:8} {frames:6} {videos:7} {peak:9.0f} {peak / unit:7.2f}")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[16])
    options = parser.parse_args()
    print_weights()
    print_activations(options.frames)


if __name__ == "__main__":
    main()
