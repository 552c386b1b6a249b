"""Across the variants: each end to end, detected, sampled on all paths, decoded."""

import pytest
import torch
from family import (
    CFG,
    SIZE,
    SPEEDS,
    STEPS,
    Run,
    bare,
    conditionings,
    k_sampler,
    length_of,
    takes_image,
    wire,
)
from graphs import Graph, Link
from reference import Reference
from studio import Animation, Studio, relative_error

pytestmark = pytest.mark.server

TOLERANCE = 1e-3


def stock_custom(graph: Graph, made: Animation, noise: Link) -> Link:
    guider = graph.add(
        "CFGGuider", model=made.model, positive=made.positive, negative=made.negative, cfg=CFG
    )[0]
    euler = graph.add("KSamplerSelect", sampler_name="euler")[0]
    return made.sample_custom(noise, guider, euler, made.scheduler(steps=STEPS))


@pytest.fixture(scope="module", params=list(SPEEDS))
def run(request: pytest.FixtureRequest, studio: Studio) -> Run:
    """All four ways to sample, in one prompt."""
    variant, graph = request.param, Graph()
    made = wire(studio, graph, variant)
    shape = (length_of(variant), 4, SIZE // 8, SIZE // 8)
    unit = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    noise = studio.noise(graph, unit)
    plain = {"steps": STEPS, "eta": 0.0, "cfg": CFG, "guidance_rescale": 0.0, "noise": noise}
    ddim = graph.add("DynamiCrafterDDIM", eta=0.0)[0]
    guider = made.guider(cfg=CFG, guidance_rescale=0.0)
    published = made.scheduler(steps=STEPS, ending="published")
    ours = made.sample(**plain, ending="published")
    results = studio.run(
        graph,
        **conditionings(made),
        ours=ours,
        clean=made.sample(**plain),
        own_custom=made.sample_custom(noise, guider, ddim, published),
        stock_custom=stock_custom(graph, made, noise),
        k_sampler=k_sampler(graph, made),
        frames=graph.add("VAEDecode", vae=made.vae, samples=ours)[0],
    )
    file = studio.checkpoints / bare(studio, variant)
    return Run(variant, unit, results, Reference(file, variant))


def test_our_sampler_is_the_published_method(run: Run) -> None:
    assert relative_error(run.latent("ours"), run.expected()) < TOLERANCE


def test_our_parts_in_custom_sampling_give_the_same(run: Run) -> None:
    assert relative_error(run.latent("own_custom"), run.latent("ours")) < 1e-5


def test_stock_guider_and_euler_give_our_clean_ending(run: Run) -> None:
    assert relative_error(run.latent("stock_custom"), run.latent("clean")) < TOLERANCE


def test_the_stock_sampler_makes_a_video_too(run: Run) -> None:
    latent = run.latent("k_sampler")
    assert latent.shape == (length_of(run.variant), 4, SIZE // 8, SIZE // 8)
    assert latent.isfinite().all()
    assert latent.std() > 0.1


def test_stock_decoding_gives_every_frame(run: Run) -> None:
    frames = run.results["frames"]["value"]
    assert frames.shape == (length_of(run.variant), SIZE, SIZE, 3)
    assert frames.isfinite().all()


def test_only_image_models_carry_images(run: Run) -> None:
    assert (run.conditions[0][1] is not None) == takes_image(run.variant)
    assert (run.concat is not None) == (not run.variant.startswith("videocrafter"))
