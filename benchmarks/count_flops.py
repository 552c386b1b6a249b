"""Floating-point operations of one U-Net forward pass at real size, on the meta device.

python -m benchmarks.count_flops
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import VARIANTS, UNetArch

# One forward pass of the published code: 16 frames, batch 1, TFLOP.
PUBLISHED = {"256": 4.90, "512": 12.60, "1024": 52.34}


def tera_operations(size: tuple[int, int], frames: int) -> float:
    """TFLOP of one forward pass; size: latent (h, w)."""
    arch = UNetArch()
    with torch.device("meta"):
        unet = DynamiCrafterUNet(arch).eval()
        counter = FlopCounterMode(display=False)
        with torch.inference_mode(), counter:
            unet(
                torch.empty(1, arch.in_channels, frames, *size),
                torch.empty(1),
                torch.empty(1, 77, arch.context_dim),
                torch.empty(1, 256, arch.context_dim),
                torch.empty(1),
            )
    return counter.get_total_flops() / 1e12


def main() -> None:
    """Prints the table."""
    print("variant   TFLOP  published  ratio")
    for name, published in PUBLISHED.items():
        height, width = (side // 8 for side in VARIANTS[name].size)
        found = tera_operations((height, width), frames=16)
        print(f"{name:8} {found:6.2f} {published:10.2f} {found / published:6.3f}")


if __name__ == "__main__":
    main()
