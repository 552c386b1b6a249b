"""Guidance and the functions that stock nodes hang on the model, on one of the least size."""

from pathlib import Path
from typing import Any

import comfy.samplers
import pytest
import torch
from host_sampling import FRAMES, SIDE, load_least, prompt
from pack.nodes.checks import InputError
from pack.nodes.host.conditionings import Conditionings
from pack.nodes.host.guider import Guidance, build_guider
from pack.nodes.host.prior import build_prior_guider
from pack.nodes.sampling import SamplerSettings, VideoNoise, sample
from torch import Tensor

TWO_SCALES = Guidance(7.5, 3.0, 0.0)
LATENT: Any = {"samples": torch.zeros(FRAMES, 4, SIDE, SIDE), "num_frames": FRAMES}


@pytest.fixture(scope="module")
def models(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Two of their own: one may be the other's prior."""
    return [load_least(golden, tmp_path_factory.mktemp(name)) for name in ("one", "two")]


def conditionings() -> Conditionings:
    draw = torch.Generator().manual_seed(1)
    return Conditionings(*(prompt(draw) for _ in range(3)))


def sampled(model: Any) -> Tensor:
    settings = SamplerSettings(steps=2)
    return sample(model, conditionings(), LATENT, VideoNoise(0), settings, TWO_SCALES)["samples"]


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def test_functions_before_guidance_see_the_pair_that_the_host_s_see(models: list[Any]) -> None:
    seen: list[tuple[int, int, float]] = []

    def both_positive(given: Any) -> Any:
        seen.append((len(given["conds"]), len(given["conds_out"]), given["cond_scale"]))
        return [given["conds_out"][0]] * 2

    model = models[0].clone()
    model.set_model_sampler_pre_cfg_function(both_positive)
    found = sampled(model)
    assert seen == [(2, 2, 7.5)] * 2
    assert relative(found, sampled(models[0])) > 0.1


def prior_sampled(model: Any, prior: Any, strength: float = 1.0) -> Tensor:
    """Below the prior's largest noise level."""
    positive, negative, _ = conditionings()
    guidance = Guidance(7.5, 7.5, 0.0)
    return one_step(build_prior_guider(model, prior, positive, negative, guidance, strength))


def one_step(guider: Any) -> Tensor:
    noise = VideoNoise(0).generate_noise(LATENT)
    sampler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor([5.0, 0.0])
    return guider.sample(noise, LATENT["samples"], sampler, sigmas, disable_pbar=True)


def test_functions_before_guidance_act_on_the_prior_s_branch(models: list[Any]) -> None:
    model = models[0].clone()
    model.set_model_sampler_pre_cfg_function(lambda given: [given["conds_out"][0]] * 2)
    # Both branches are the positive's, so the prior has no part.
    positive = conditionings().positive
    alone = comfy.samplers.CFGGuider(models[0])
    alone.set_conds(positive, positive)
    alone.set_cfg(1.0)
    wanted = one_step(alone)
    assert relative(prior_sampled(model, models[1]), wanted) < 1e-4
    assert relative(prior_sampled(models[0], models[1]), wanted) > 0.1


def asked_for_two(given: Any) -> Any:
    """As stock nodes write it: they unpack a pair."""
    positive, negative = given["conds"]
    return [
        torch.full_like(given["input"], 2.0 * (cond is not None)) for cond in (positive, negative)
    ]


def test_a_function_in_place_of_the_predictions_is_asked_for_the_pair(models: list[Any]) -> None:
    model = models[0].clone()
    model.set_model_sampler_calc_cond_batch_function(asked_for_two)
    assert relative(sampled(model), sampled(models[0])) > 0.1
    for strength in (1.0, 0.5):
        found = prior_sampled(model, models[1], strength)
        assert relative(found, prior_sampled(models[0], models[1], strength)) > 0.1


def test_guidance_of_a_node_s_own_has_one_scale(models: list[Any]) -> None:
    model = models[0].clone()
    model.set_model_sampler_cfg_function(lambda given: given["cond"])
    with pytest.raises(InputError, match=r"guidance of its own.*disconnect image_only"):
        build_guider(model, conditionings(), TWO_SCALES)
    build_guider(model, conditionings(), Guidance(7.5, 7.5))
    build_guider(model, conditionings()._replace(image_only=None), TWO_SCALES)
