"""Attention and timestep embedding."""

import math

import pytest
import torch
from safetensors.torch import load_file

from dc_model.unet.ops import add_in_order, cast_like, sdpa, timestep_embedding


def test_sdpa_is_softmax_attention_per_head():
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 12, generator=g) for n in (5, 7, 7))
    expected = []
    for head in range(3):
        part = slice(4 * head, 4 * head + 4)
        weights = (q[..., part] @ k[..., part].mT / 2).softmax(-1)
        expected.append(weights @ v[..., part])
    out = sdpa(q, k, v, 3, {})
    torch.testing.assert_close(out, torch.cat(expected, -1), atol=1e-6, rtol=1e-5)


def test_timestep_embedding_has_cosines_first():
    embedding = timestep_embedding(torch.tensor([0.0, 3.0]), 8)
    assert embedding.dtype == torch.float32
    assert torch.equal(embedding[0], torch.tensor([1.0] * 4 + [0.0] * 4))
    for i in range(4):
        angle = 3 * math.exp(-math.log(10000) * i / 4)
        assert abs(float(embedding[1, i]) - math.cos(angle)) < 1e-6
        assert abs(float(embedding[1, 4 + i]) - math.sin(angle)) < 1e-6


def test_timestep_embedding_takes_fractions():
    low, middle, high = timestep_embedding(torch.tensor([24.0, 24.5, 25.0]), 32)
    assert not torch.equal(middle, low)
    assert not torch.equal(middle, high)


@pytest.mark.parametrize("dim", [32, 320])
def test_timestep_embedding_is_the_published_one(golden, dim):
    found = load_file(golden / "modules" / "schedule.safetensors")
    embedding = timestep_embedding(found["timestep_embedding.t"], dim)
    # float32 angles of up to 1000 carry errors of 1000 * 2 ** -24.
    torch.testing.assert_close(embedding, found[f"timestep_embedding.{dim}"], atol=1e-4, rtol=0)


def test_cast_like_takes_dtype_and_device():
    out = cast_like(torch.ones(2), torch.zeros(1, dtype=torch.float16))
    assert out.dtype == torch.float16


def test_a_sum_is_stored_in_the_order_asked_for():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(2, 3, 4, generator=g)
    b = torch.randn(4, 3, 2, generator=g, dtype=torch.float64).permute(2, 1, 0)
    with torch.no_grad():
        out = add_in_order(a, b, (1, 0, 2))
    assert torch.equal(out, a + b)
    assert out.dtype == torch.float64
    assert out.transpose(0, 1).is_contiguous()


def test_a_sum_in_an_order_has_gradients():
    a = torch.ones(2, 3, requires_grad=True)
    add_in_order(a, torch.ones(2, 3), (1, 0)).sum().backward()
    assert a.grad is not None
    assert torch.equal(a.grad, torch.ones(2, 3))
