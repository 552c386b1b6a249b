from small_archs import small_unet
from torch import nn

from dc_model.unet.factory import BlockFactory
from dc_model.unet.ops import sdpa
from dc_model.unet.transformers import SpatialTransformer, TemporalTransformer

ARCH = small_unet(num_res_blocks=2, attention_levels=(False, True), context_dim=8)


def factory(temporal: bool) -> BlockFactory:
    return BlockFactory(ARCH, nn, sdpa, None, "meta", temporal=temporal)  # type: ignore[arg-type]


def count(blocks: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in blocks.modules())


def test_widths_are_those_of_the_skips() -> None:
    blocks, widths = factory(temporal=True).encoder()
    # First convolution, two residual blocks, step down, two residual blocks.
    assert widths == [32, 32, 32, 32, 64, 64]
    assert len(blocks) == len(widths)


def test_single_frames_have_no_layer_along_time() -> None:
    for temporal in (True, False):
        make = factory(temporal)
        for blocks, spatial in ((make.encoder()[0], 2), (make.middle(64), 1)):
            assert count(blocks, SpatialTransformer) == spatial
            assert count(blocks, TemporalTransformer) == (spatial if temporal else 0)
