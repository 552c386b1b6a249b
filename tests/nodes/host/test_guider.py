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


def test_functions_before_guidance_see_all_three_branches(models: list[Any]) -> None:
    seen: list[tuple[int, int]] = []

    def without_guidance(given: Any) -> Any:
        seen.append((len(given["conds"]), len(given["conds_out"])))
        return [given["conds_out"][0]] * 3

    model = models[0].clone()
    model.set_model_sampler_pre_cfg_function(without_guidance)
    plain = sample(
        models[0], conditionings(), LATENT, VideoNoise(0), SamplerSettings(steps=2), Guidance(1, 1)
    )
    wanted = plain["samples"]
    assert float((sampled(model) - wanted).norm() / wanted.norm()) < 1e-4
    assert float((sampled(models[0]) - wanted).norm() / wanted.norm()) > 0.1
    assert seen == [(3, 3)] * 2


def test_functions_before_guidance_see_the_prior(models: list[Any]) -> None:
    model, prior = models[0].clone(), models[1]
    positive, negative, _ = conditionings()
    before: list[Any] = []
    model.set_model_sampler_pre_cfg_function(
        lambda given: before.append(given["conds_out"]) or given["conds_out"]
    )
    guider = build_prior_guider(model, prior, positive, negative, Guidance(7.5, 7.5, 0.0), 1.0)
    noise = VideoNoise(0).generate_noise(LATENT)
    sampler = comfy.samplers.sampler_object("euler")
    guider.sample(noise, LATENT["samples"], sampler, torch.tensor([5.0, 1.0]), disable_pbar=True)
    ((cond, uncond),) = before
    assert cond.shape == uncond.shape
    assert float((cond - uncond).abs().max()) > 0.01


def test_a_function_in_place_of_the_predictions_is_asked(models: list[Any]) -> None:
    model = models[0].clone()
    model.set_model_sampler_calc_cond_batch_function(
        lambda given: [torch.zeros_like(given["input"])] * len(given["conds"])
    )
    assert not bool(sampled(model).any())


def test_guidance_of_a_node_s_own_has_one_scale(models: list[Any]) -> None:
    model = models[0].clone()
    model.set_model_sampler_cfg_function(lambda given: given["cond"])
    with pytest.raises(InputError, match=r"guidance of its own.*disconnect image_only"):
        build_guider(model, conditionings(), TWO_SCALES)
    build_guider(model, conditionings(), Guidance(7.5, 7.5))
    build_guider(model, conditionings()._replace(image_only=None), TWO_SCALES)
