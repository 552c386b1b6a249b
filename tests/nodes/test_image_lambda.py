"""Multipliers of the gate lambda: which layers are the middle, and which lists are refused."""

import pytest
import torch
from pack.dc_model.unet.unet import DynamiCrafterUNet
from pack.dc_model.variants import UNetArch
from pack.nodes.checks import InputError
from pack.nodes.image_lambda import image_strengths, spatial_layers
from small_archs import small_unet

SMALL = small_unet()
PUBLISHED = UNetArch(model_channels=32, head_dim=16, context_dim=32)


@pytest.fixture(scope="module")
def small() -> DynamiCrafterUNet:
    return DynamiCrafterUNet(SMALL, device=torch.device("meta"))


def test_layers_come_in_forward_order_with_short_names(small: DynamiCrafterUNet) -> None:
    names = [(name, middle) for name, middle, _ in spatial_layers(small)]
    assert names == [("inp 1", False), ("mid", True), ("out 2", False), ("out 3", False)]


def test_the_published_layout_has_six_middle_layers_of_sixteen() -> None:
    """Three attending levels: the third and the bottleneck are the middle."""
    unet = DynamiCrafterUNet(PUBLISHED, device=torch.device("meta"))
    found = image_strengths(unet, 0.5, 2.0, "")
    assert found == (0.5,) * 4 + (2.0,) * 6 + (0.5,) * 6


def test_a_list_overrides_the_two(small: DynamiCrafterUNet) -> None:
    assert image_strengths(small, 3.0, 3.0, " 1, 0, 0.5 ,1.5") == (1.0, 0.0, 0.5, 1.5)
    assert image_strengths(small, 0.5, 2.0, "  ") == (0.5, 2.0, 0.5, 0.5)


@pytest.mark.parametrize(
    "per_layer",
    ["1, 2", "1, 2, x, 4", "1, 1, 1, 1, 1", "nan, 1, 1, 1", "1e400, 1, 1, 1", "1,,2,3", "len(1)"],
)
def test_other_lists_are_refused(small: DynamiCrafterUNet, per_layer: str) -> None:
    with pytest.raises(InputError, match="this model needs 4 comma-separated numbers"):
        image_strengths(small, 1.0, 1.0, per_layer)
