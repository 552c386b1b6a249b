"""Across the networks: what a host that loads layer by layer has to know of parameters."""

import pytest
import torch
from torch import nn

from dc_model.projection import ProjectionArch, Resampler
from dc_model.toon.dual_reference_vae import DualReferenceArch, DualReferenceVAE
from dc_model.toon.sketch_controlnet import SketchControlArch, SketchControlNet
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import UNetArch

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.GroupNorm, nn.LayerNorm)
ARCHS = {
    "usual": UNetArch(),
    "256": UNetArch(learnable_image_scale=True),
    "text": UNetArch(in_channels=4, image_cross_attention=False, relative_position=True),
}


def unet(name: str) -> nn.Module:
    return DynamiCrafterUNet(ARCHS[name], device="meta")


def outside_of_layers(network: nn.Module) -> set[str]:
    """Ends of the names of parameters outside any layer, or of a layer with a layer inside."""
    found = set()
    for name, module in network.named_modules():
        owned = dict(module.named_parameters(recurse=False))
        plain = isinstance(module, LAYERS) and len(owned) == len(list(module.parameters()))
        if not plain:
            found |= {f"{name.rsplit('.', 1)[-1]}.{key}" for key in owned}
    return found


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (unet("usual"), set()),
        (unet("256"), {"attn2.alpha"}),
        (
            unet("text"),
            {"relative_position_k.embeddings_table", "relative_position_v.embeddings_table"},
        ),
        (Resampler(ProjectionArch(), device="meta"), {".latents"}),
        (SketchControlNet(SketchControlArch(), device="meta"), set()),
    ],
    ids=["usual", "256", "text", "query transformer", "sketch"],
)
def test_parameters_outside_of_layers(network: nn.Module, expected: set[str]) -> None:
    """A host passes them over, so each has to be cast where it is used, and patched apart."""
    assert outside_of_layers(network) == expected


def test_parameters_of_the_dual_reference_vae_outside_of_layers() -> None:
    found = outside_of_layers(DualReferenceVAE(DualReferenceArch(), device="meta"))
    mixes = {name for name in found if name.endswith(".mix_factor")}
    assert mixes and found - mixes == {"conv_out.weight", "conv_out.bias"}


@pytest.mark.parametrize("name", list(ARCHS))
def test_projections_have_sides_that_8_bit_products_take(name: str) -> None:
    """CUDA multiplies 8-bit matrices whose sides are multiples of 16."""
    layers = [m for m in unet(name).modules() if isinstance(m, nn.Linear)]
    sides = torch.tensor([[m.in_features, m.out_features] for m in layers])
    assert len(layers) > 200
    assert not (sides % 16).any()
