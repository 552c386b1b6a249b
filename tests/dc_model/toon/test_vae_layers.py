"""Building blocks of the dual-reference VAE."""

import pytest
import torch

from dc_model.encoders.vae_blocks import LayerFactory, PixelAttention, SpatialResBlock
from dc_model.toon.vae_layers import (
    ReferenceAddition,
    ReferenceAttention,
    TimeStack,
    VideoResBlock,
)
from dc_model.unet.ops import sdpa

CHANNELS = 32


@pytest.fixture
def make():
    return LayerFactory(torch.nn, sdpa, {})  # type: ignore[arg-type]


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize(("mix", "time"), [(-100.0, 0.0), (100.0, 1.0), (0.0, 0.5)])
def test_mix_factor_weighs_time_against_space(make, mix, time):
    block = VideoResBlock(CHANNELS, CHANNELS, make)
    block.mix_factor.fill_(mix)
    x = random(4, CHANNELS, 3, 5)
    space = SpatialResBlock.forward(block, x)
    video = space.unflatten(0, (1, 4)).transpose(1, 2)
    mixed = (1 - time) * video + time * block.time_stack(video)
    expected = mixed.transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(block(x, 4), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_time_stack_sees_neighbouring_frames_only(make):
    stack = TimeStack(CHANNELS, make)
    stack.in_layers[0] = stack.out_layers[0] = torch.nn.Identity()
    x = random(1, CHANNELS, 9, 2, 2)
    changed = x.clone()
    changed[:, :, 4] += 1
    moved = (stack(changed) - stack(x)).abs().amax(dim=(0, 1, 3, 4))  # [T]
    assert (moved[2:7] > 0).all()
    assert moved[:2].max() == moved[7:].max() == 0


@torch.no_grad()
@pytest.mark.parametrize("ends", [(True, True), (True, False), (False, True), (False, False)])
def test_addition_touches_the_video_ends_only(make, ends):
    layer = ReferenceAddition(CHANNELS, make)
    x, reference = random(1, CHANNELS, 4, 2, 3), random(1, CHANNELS, 2, 2, 3)
    before = x.clone()
    out = layer(x, reference, ends)
    assert torch.equal(x, before)
    expected = x.clone()
    if ends[0]:
        expected[:, :, 0] += layer.conv(reference[:, :, 0])
    if ends[1]:
        expected[:, :, -1] += layer.conv(reference[:, :, 1])
    assert torch.equal(out, expected)


@torch.no_grad()
def test_addition_to_a_single_frame_adds_both(make):
    layer = ReferenceAddition(CHANNELS, make)
    x, reference = random(1, CHANNELS, 1, 2, 3), random(1, CHANNELS, 2, 2, 3)
    both = layer.conv(reference[:, :, 0]) + layer.conv(reference[:, :, 1])
    out = layer(x, reference, (True, True))
    torch.testing.assert_close(out[:, :, 0], x[:, :, 0] + both, atol=1e-5, rtol=0)


@torch.no_grad()
def test_reference_attention_ignores_the_order_of_frames_and_references(make):
    layer = ReferenceAttention(CHANNELS, 8, make)
    x, reference = random(1, CHANNELS, 4, 2, 3), random(1, CHANNELS, 2, 2, 3)
    out = layer(x, reference, (True, True))
    order = torch.tensor([2, 0, 3, 1])
    shuffled = layer(x[:, :, order], reference.flip(2), (False, False))
    torch.testing.assert_close(shuffled, out[:, :, order], atol=1e-5, rtol=0)
    assert (out - x).abs().max() > 1e-3


@torch.no_grad()
def test_pixel_attention_keeps_frames_apart(make):
    layer = PixelAttention(CHANNELS, make)
    x = random(3, CHANNELS, 2, 3)
    changed = x.clone()
    changed[1] += random(CHANNELS, 2, 3)
    moved = (layer(changed) - layer(x)).abs().amax(dim=(1, 2, 3))
    assert moved[1] > 0
    assert moved[0] == moved[2] == 0


@torch.no_grad()
def test_norms_have_the_published_epsilons(make):
    """1e-5 along time, 1e-6 elsewhere; of values so small that it counts."""
    block = VideoResBlock(CHANNELS, CHANNELS, make)
    attention = PixelAttention(CHANNELS, make), ReferenceAttention(CHANNELS, 8, make)
    space = [block.norm1, block.norm2, *(layer.norm for layer in attention)]
    time = [block.time_stack.in_layers[0], block.time_stack.out_layers[0]]
    x = random(1, CHANNELS, 4, 5) * 1e-3
    mean, variance = x.mean(dim=(2, 3), keepdim=True), x.var(dim=(2, 3), keepdim=True, correction=0)
    for norms, epsilon in ((space, 1e-6), (time, 1e-5)):
        for norm in norms:
            expected = (x - mean) / (variance + epsilon).sqrt()
            torch.testing.assert_close(norm(x), expected, atol=1e-5, rtol=0)
