"""Dual cross-attention and the transformers around it."""

from typing import Any

import pytest
import torch

from dc_model.unet.attention import (
    IMAGE_STRENGTHS,
    Conditions,
    DualCrossAttention,
    SelfAttention,
    per_row,
)
from dc_model.unet.ops import sdpa
from dc_model.unet.transformers import SpatialTransformer, TemporalTransformer

HEADS, HEAD_DIM, DIM, CONTEXT = 2, 8, 16, 12


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cross_attention(*, learnable=False, image_attention=True, seed=0):
    attention = DualCrossAttention(
        DIM,
        CONTEXT,
        HEADS,
        HEAD_DIM,
        image_attention=image_attention,
        learnable_image_scale=learnable,
        dropout=0.0,
        operations=torch.nn,
        attention=sdpa,
    )
    for i, parameter in enumerate(attention.parameters()):
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed + i))
    return attention.eval()


def conditions(text, image, frames, options=None):
    embedding = torch.zeros(frames, 1)  # of one video
    return Conditions(embedding, text, image, frames, options or {})


def term(attention, x, tokens, key, value):
    """Plain softmax attention, a row of tokens for each row of x, before `to_out`."""
    q, k, v = attention.to_q(x), key(tokens), value(tokens)
    q, k, v = (t.unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2) for t in (q, k, v))
    weights = (q @ k.transpose(-1, -2) * HEAD_DIM**-0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


@torch.no_grad()
@pytest.mark.parametrize("text_tokens", [77, 154])
@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("image_rows", ["shared", "per frame"])
def test_dual_attention_is_text_plus_lambda_times_image(text_tokens, learnable, image_rows):
    frames, videos = 3, 2
    attention = cross_attention(learnable=learnable)
    x, text = random(videos * frames, 20, DIM), random(videos, text_tokens, CONTEXT, seed=1)
    rows = videos if image_rows == "shared" else videos * frames
    image = random(rows, 16, CONTEXT, seed=2)
    out = attention(x, conditions(text, image, frames), text, text)

    gate = torch.tanh(attention.alpha) + 1 if learnable else 1.0
    wide_text = per_row(text, videos * frames)
    wide_image = per_row(image, videos * frames)
    expected = attention.to_out(
        term(attention, x, wide_text, attention.to_k, attention.to_v)
        + gate * term(attention, x, wide_image, attention.to_k_ip, attention.to_v_ip)
    )
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_lambda_is_one_at_the_start_of_training():
    attention = DualCrossAttention(
        DIM,
        CONTEXT,
        HEADS,
        HEAD_DIM,
        image_attention=True,
        learnable_image_scale=True,
        dropout=0.0,
        operations=torch.nn,
        attention=sdpa,
    )
    assert float(attention.gate()) == 1.0
    attention.alpha.fill_(100.0)
    assert float(attention.gate()) == 2.0


@torch.no_grad()
def test_image_strength_multiplies_lambda():
    attention = cross_attention(learnable=True)
    x, text, image = random(2, 5, DIM), random(1, 7, CONTEXT, seed=1), random(1, 4, CONTEXT, seed=2)

    def attend(strength: float):
        options = {IMAGE_STRENGTHS: (9.0, strength), "transformer_index": 1}
        return attention(x, conditions(text, image, 2, options=options), text, text)

    without, half, whole = (attend(strength) for strength in (0.0, 0.5, 1.0))
    assert torch.equal(whole, attention(x, conditions(text, image, 2), text, text))
    torch.testing.assert_close(half, (without + whole) / 2, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_image_branch_image_tokens_are_ignored():
    attention = cross_attention(image_attention=False)
    x, text, image = random(2, 5, DIM), random(1, 7, CONTEXT, seed=1), random(1, 4, CONTEXT, seed=2)
    with_image = attention(x, conditions(text, image, 2), text, text)
    assert torch.equal(with_image, attention(x, conditions(text, None, 2), text, text))
    assert not hasattr(attention, "to_k_ip")


def with_relative_positions(attention: Any) -> SelfAttention:
    return SelfAttention(
        DIM, HEADS, HEAD_DIM, max_distance=2, dropout=0.0, operations=torch.nn, attention=attention
    )


@torch.no_grad()
def test_relative_positions_tell_frames_apart_and_clamp_beyond_the_table():
    attention = with_relative_positions(sdpa)
    for i, parameter in enumerate(attention.parameters()):
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(i))
    x = random(1, 1, DIM).expand(1, 6, DIM)  # six equal frames
    out = attention(x, {})
    assert (out[0, 0] - out[0, 3]).abs().max() > 1e-2
    # Frames 2 and 3 see the same clamped distances, mirrored by the frames around them.
    table = attention.relative_position_k
    vectors = table(6, x)
    assert torch.equal(vectors[0, 5], table.embeddings_table[4])
    assert torch.equal(vectors[0, 2], table.embeddings_table[4])
    assert torch.equal(vectors[5, 0], table.embeddings_table[0])


def test_relative_positions_use_no_host_attention():
    def unexpected(*_args):
        raise AssertionError("the tables do not fit through packed attention")

    attention = with_relative_positions(unexpected)
    assert attention(random(1, 4, DIM), {}).shape == (1, 4, DIM)


@torch.no_grad()
@pytest.mark.parametrize("use_linear", [True, False])
def test_temporal_transformer_mixes_frames_but_not_pixels(use_linear):
    channels = 32
    layer = TemporalTransformer(
        channels,
        HEADS,
        HEAD_DIM,
        depth=1,
        use_linear=use_linear,
        max_distance=None,
        dropout=0.0,
        operations=torch.nn,
        attention=sdpa,
    )
    # The normalization's statistics run over all pixels; fixed ones leave only the attention.
    layer.norm = torch.nn.Identity()
    x = random(4, channels, 2, 3)
    changed = x.clone()
    changed[1, :, 0, 2] += 1
    moved = (layer(changed, conditions(x, None, 4)) - layer(x, conditions(x, None, 4))).abs()
    pixels = moved.amax(dim=(0, 1))
    assert (moved[:, :, 0, 2].amax(dim=1) > 1e-4).all()  # all frames of that pixel
    pixels[0, 2] = 0
    assert pixels.max() == 0


@torch.no_grad()
def test_spatial_transformer_mixes_pixels_but_not_frames():
    layer = SpatialTransformer(
        32,
        CONTEXT,
        HEADS,
        HEAD_DIM,
        depth=1,
        image_attention=True,
        learnable_image_scale=False,
        dropout=0.0,
        operations=torch.nn,
        attention=sdpa,
    )
    x, text = random(4, 32, 2, 3), random(1, 7, CONTEXT, seed=1)
    changed = x.clone()
    changed[1, :, 0, 2] += 1
    shared = conditions(text, None, 4)
    moved = (layer(changed, shared) - layer(x, shared)).abs().amax(dim=1)  # [T, H, W]
    assert (moved[1] > 1e-4).all()
    assert moved[[0, 2, 3]].max() == 0


@pytest.mark.parametrize("kind", [SpatialTransformer, TemporalTransformer])
def test_transformers_normalize_with_the_published_epsilon(kind):
    """Of values so small that it counts: 1e-6 beside a variance of 1e-6."""
    more: dict[str, Any] = {"use_linear": True, "max_distance": None}
    if kind is SpatialTransformer:
        more = {"context_dim": CONTEXT, "image_attention": True, "learnable_image_scale": False}
    common: dict[str, Any] = {"dropout": 0.0, "operations": torch.nn, "attention": sdpa, "depth": 1}
    layer = kind(32, heads=HEADS, head_dim=HEAD_DIM, **common, **more)
    x = random(1, 32, 6, 6) * 1e-3
    mean, variance = x.mean(dim=(2, 3), keepdim=True), x.var(dim=(2, 3), keepdim=True, correction=0)
    expected = (x - mean) / (variance + 1e-6).sqrt()
    torch.testing.assert_close(layer.norm(x), expected, atol=1e-5, rtol=0)
