"""Across the nodes: each default equals the published value written out."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link
from scene import FRAMES, SIZE, Scene, small_scene, unit_noise
from studio import Studio, relative_error

from dc_model.sampling.schedule import NoiseSchedule, ddim_sigmas, timesteps
from dc_model.variants import VARIANTS

pytestmark = pytest.mark.server

SAMPLES = "value.samples"


@pytest.mark.parametrize(
    ("variant", "own", "other"), [("512", 0.7, 0.0), ("256", 0.0, 0.7), ("videocrafter2", 0.0, 0.7)]
)
def test_any_negative_rescale_is_the_models_own(
    studio: Studio, graph: Graph, variant: str, own: float, other: float
) -> None:
    scene = small_scene(studio, graph, variant)
    noise = scene.unit_noise()
    values = {"default": -1.0, "negative": -0.2, "own": own, "other": other}
    results = studio.run(
        graph,
        **{
            name: scene.sample(steps=2, guidance_rescale=value, noise=noise)
            for name, value in values.items()
        },
    )
    found = {name: results[name][SAMPLES] for name in values}
    assert torch.equal(found["default"], found["own"])
    assert torch.equal(found["negative"], found["own"])
    assert relative_error(found["other"], found["own"]) > 1e-4


def test_image_cfg_is_for_image_only(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)

    def sample(image_cfg: float, **options: Any) -> Link:
        noise = scene.unit_noise()
        return scene.sample(steps=1, cfg=6.0, image_cfg=image_cfg, noise=noise, **options)

    image_only = {"image_only": scene.image_only}
    results = studio.run(
        graph,
        low=sample(1.0),
        high=sample(9.0),
        same=sample(6.0, **image_only),
        low_with=sample(1.0, **image_only),
    )
    found = {name: tensors[SAMPLES] for name, tensors in results.items()}
    assert torch.equal(found["low"], found["high"])
    # With equal scales the middle term cancels.
    assert torch.equal(found["same"], found["low"])
    assert relative_error(found["low_with"], found["low"]) > 1e-3


def test_a_seed_draws_the_published_noise_for_every_video(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph, batch_size=2)
    shape = (2, 4, FRAMES, SIZE // 8, SIZE // 8)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(11))
    noise = studio.noise(graph, drawn.transpose(1, 2).flatten(0, 1))
    results = studio.run(
        graph,
        seed=scene.sample(steps=2, seed=11),
        noise=scene.sample(steps=2, seed=7, noise=noise),
        other=scene.sample(steps=2, seed=7),
    )
    found = {name: tensors[SAMPLES] for name, tensors in results.items()}
    assert torch.equal(found["seed"], found["noise"])
    assert relative_error(found["other"], found["seed"]) > 0.1


@pytest.mark.parametrize(
    ("variant", "spacing"),
    [("512", "uniform_trailing"), ("256", "uniform"), ("videocrafter2", "uniform")],
)
def test_the_scheduler_walks_the_published_grid(
    studio: Studio, graph: Graph, variant: str, spacing: Any
) -> None:
    scene = small_scene(studio, graph, variant)
    cases: dict[str, tuple[dict[str, Any], tuple[int, float], Any]] = {
        "whole": ({}, (1000, 1.0), "clean"),
        "late": ({"start_timestep": 940}, (940, 1.0), "clean"),
        "half": ({"denoise": 0.5}, (1000, 0.5), "clean"),
        "published": ({"ending": "published"}, (1000, 1.0), "published"),
    }
    found = studio.run(
        graph, **{k: scene.scheduler(steps=7, **options) for k, (options, *_) in cases.items()}
    )
    about = VARIANTS[variant]
    schedule = NoiseSchedule.from_variant(
        about.zero_terminal_snr, about.base_scale, about.parameterization, about.final_scale
    )
    for name, (_, grid, ending) in cases.items():
        expected = ddim_sigmas(schedule, timesteps(7, spacing, *grid), ending)
        torch.testing.assert_close(found[name]["value"], expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("variant", "variance"), [("512", 0.8080), ("1024", 0.3031)])
def test_built_in_analytic_init_has_the_published_variance(
    studio: Studio, graph: Graph, variant: str, variance: float
) -> None:
    scene = Scene(studio, graph, variant)
    noise = graph.add(
        "DynamiCrafterAnalyticInit",
        model=scene.model,
        init_file="built-in",
        seed=3,
        start_timestep=500,
    )[0]
    drawn = graph.add("TestDrawNoise", noise=noise, latent=scene.latent)[0]
    about = VARIANTS[variant]
    schedule = NoiseSchedule.from_variant(True, about.base_scale, "v")
    alpha = float(schedule.alphas_cumprod[499])
    shape = (1, 4, FRAMES, SIZE // 8, SIZE // 8)
    unit = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    expected = (1 - alpha + alpha * variance) ** 0.5 * unit[0].transpose(0, 1)
    found = studio.run(graph, drawn=drawn)["drawn"][SAMPLES]
    assert found.shape == unit_noise(0).shape
    assert relative_error(found, expected) < 1e-5
