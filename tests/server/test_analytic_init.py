"""Analytic-Init on the server: what noise sampling starts from."""

from typing import Any

import pytest
import torch
from family import (
    CFG,
    LENGTH,
    STEPS,
    Run,
    bare,
    conditionings,
    wire,
)
from graphs import Graph, Link
from reference import Reference
from studio import Animation, Studio, relative_error

from dc_model.frames import fold_frames, unfold_frames

pytestmark = pytest.mark.server

TOLERANCE = 1e-3


def analytic(graph: Graph, made: Animation, file: str, **options: Any) -> Link:
    settings = {"seed": 7, "start_timestep": 940, **options}
    return graph.add("DynamiCrafterAnalyticInit", model=made.model, init_file=file, **settings)[0]


@pytest.fixture(scope="module")
def init_file(studio: Studio) -> str:
    generator = torch.Generator().manual_seed(1)
    expectation = torch.randn(1, 4, 16, 40, 64, generator=generator)
    path = studio.checkpoints / "initial_noise_512.pt"
    torch.save({"Expectation_X0": expectation, "Tr_Cov_d": torch.tensor(0.808)}, path)
    return path.name


def test_analytic_init_starts_at_m_for_any_size_and_length(
    studio: Studio, graph: Graph, init_file: str
) -> None:
    made = wire(studio, graph, "cil_512")
    noise = analytic(graph, made, init_file)
    latent = made.sample(
        steps=STEPS,
        cfg=CFG,
        guidance_rescale=0.0,
        noise=noise,
        start_timestep=940,
        ending="published",
    )
    results = studio.run(graph, **conditionings(made), latent=latent)
    checkpoint = bare(studio, "cil_512")
    reference = Reference(studio.checkpoints / checkpoint, "cil_512")
    unit = torch.randn(1, 4, LENGTH, 8, 8, generator=torch.Generator().manual_seed(7))
    mean = torch.load(studio.checkpoints / init_file, weights_only=True)["Expectation_X0"]
    mean = torch.nn.functional.adaptive_avg_pool3d(mean, (LENGTH, 8, 8))
    alpha = float(reference.alphas[939])
    start = alpha**0.5 * mean + (1 - alpha + alpha * 0.808) ** 0.5 * unit
    run = Run("cil_512", fold_frames(start), results, reference)
    assert relative_error(results["latent"]["value.samples"], run.expected(start=940)) < TOLERANCE


def test_analytic_init_without_a_file_and_from_samples(studio: Studio, graph: Graph) -> None:
    made = wire(studio, graph, "cil_512")
    generator = torch.Generator().manual_seed(2)
    samples = torch.randn(3 * LENGTH, 4, 8, 8, generator=generator) * 5 + 2
    measured = analytic(
        graph, made, "built-in", statistics_from=studio.latent(graph, samples, LENGTH)
    )
    built_in = analytic(graph, made, "built-in")
    results = studio.run(
        graph,
        built_in=graph.add("TestDrawNoise", noise=built_in, latent=made.latent)[0],
        measured=graph.add("TestDrawNoise", noise=measured, latent=made.latent)[0],
    )
    checkpoint = bare(studio, "cil_512")
    alpha = float(Reference(studio.checkpoints / checkpoint, "cil_512").alphas[939])
    unit = torch.randn(1, 4, LENGTH, 8, 8, generator=torch.Generator().manual_seed(7))
    wider = (1 - alpha + alpha * 0.808) ** 0.5 * fold_frames(unit)
    assert relative_error(results["built_in"]["value.samples"], wider) < 1e-5
    videos = unfold_frames(samples * 0.18215, LENGTH)
    spread = float(videos.var(dim=0).mean())
    start = alpha**0.5 * videos.mean(dim=0, keepdim=True)
    start = start + (1 - alpha + alpha * spread) ** 0.5 * unit
    assert relative_error(results["measured"]["value.samples"], fold_frames(start)) < 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [({"init_file": "small"}, "Expectation_X0"), ({"statistics_from": 1}, "at least 2 videos")],
)
def test_analytic_init_says_what_is_wrong(
    studio: Studio, graph: Graph, options: dict[str, Any], message: str
) -> None:
    made = wire(studio, graph, "cil_512")
    if "init_file" in options:
        file = studio.small_checkpoint("cil_512")
        options = {**options, "init_file": file}
    else:
        options = {"init_file": "built-in", "statistics_from": made.latent}
    node = graph.add(
        "DynamiCrafterAnalyticInit", model=made.model, seed=1, start_timestep=940, **options
    )
    assert message in studio.error(graph, node[0])
