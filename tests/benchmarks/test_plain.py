"""The plain U-Net computes the same, in the way that it is there to show."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from benchmarks.counting import CountCost
from benchmarks.networks import Networks, Where
from benchmarks.step import Conditioning, call, plain_call, random_conditioning
from benchmarks.unet import Kind, Workload


def close(plain: torch.Tensor, ours: torch.Tensor) -> None:
    """Within float32 rounding of the largest value, which guidance enlarges."""
    assert ours.std() > 0.1
    torch.testing.assert_close(plain, ours, atol=1e-5 * ours.abs().max().item(), rtol=0)


@pytest.mark.parametrize(
    ("kind", "frames", "gates"), [("call", 2, False), ("call", 5, True), ("step", 5, True)]
)
def test_equals_ours(
    tiny_networks: Networks, where: Where, kind: Kind, frames: int, gates: bool
) -> None:
    arch = tiny_networks.unet._replace(learnable_image_scale=gates)
    unet = replace(tiny_networks, unet=arch).make_unet(where)
    for name, parameter in unet.named_parameters():
        if name.endswith("alpha"):
            parameter.fill_(0.4)
    work = Workload((9, 8), frames, videos=2)
    with torch.inference_mode():
        ours, plain = (run() for run in work.runs(unet, where, kind).values())
    close(plain, ours)


def floated(value: torch.Tensor | Conditioning) -> torch.Tensor | Conditioning:
    if isinstance(value, torch.Tensor):
        return value.float()
    return Conditioning(value.text.float(), value.image.float(), value.speed.float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["call", "step"])
def test_half_precision_errs_as_little_as_the_plain_one(
    tiny_networks: Networks, where: Where, kind: Kind, dtype: torch.dtype
) -> None:
    """Both round to half at other places; the truth is the same weights and inputs in float32."""
    unet = tiny_networks.make_unet(replace(where, dtype=dtype))
    exact = tiny_networks.make_unet(where)
    exact.load_state_dict({name: value.float() for name, value in unet.state_dict().items()})
    runs = Workload((9, 8), 5).runs(unet, replace(where, dtype=dtype), kind)
    plain = runs["plain"]
    assert isinstance(plain, partial)
    with torch.inference_mode():
        truth = plain.func(exact, *map(floated, plain.args[1:]))
        errors = {who: (run().float() - truth).square().mean().sqrt() for who, run in runs.items()}
    assert 0 < errors["ours"] < 1.25 * errors["plain"]
    assert errors["plain"] < 0.1 * truth.std()


def test_image_tokens_that_all_frames_share(tiny_networks: Networks, where: Where) -> None:
    unet = tiny_networks.make_unet(where)
    given = random_conditioning(where, 32, videos=1, frames=4, seed=3)
    x, t = where.randn(1, 8, 3, 8, 8), torch.tensor([300.0])
    with torch.inference_mode():
        close(plain_call(unet, x, t, given), call(unet, x, t, given))


def test_takes_two_passes_and_stores_the_scores(tiny_networks: Networks, where: Where) -> None:
    unet = tiny_networks.make_unet(where)
    runs = Workload((8, 8), 2).runs(unet, where, "step")
    operators = {}
    for who, run in runs.items():
        with torch.no_grad(), CountCost() as mode:
            run()
        operators[who] = mode.cost
    assert "_softmax" in operators["plain"].bytes_of
    assert operators["plain"].operators > 1.8 * operators["ours"].operators
