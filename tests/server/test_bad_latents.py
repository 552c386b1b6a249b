"""Across the nodes: latents and noise that no model can take, and connections of other kinds."""

import pytest
import torch
from graphs import Graph
from outcome import INF, NAN, decode, refused, runs
from scene import Scene, unit_noise
from studio import Studio
from torch import Tensor

pytestmark = pytest.mark.server

LATENTS: dict[str, tuple[Tensor, int, str | None]] = {
    "16 channels": (torch.ones(4, 16, 8, 8), 4, "expected [frames, 4"),
    "one channel": (torch.ones(4, 1, 8, 8), 4, "expected [frames, 4"),
    "three axes": (torch.ones(4, 4, 8), 4, "expected [frames, 4"),
    "five axes": (torch.ones(1, 4, 4, 8, 8), 4, "expected [frames, 4"),
    "NaN": (torch.full((4, 4, 8, 8), NAN), 4, "not finite"),
    "infinite": (torch.full((4, 4, 8, 8), INF), 4, "not finite"),
    "frames that do not divide": (torch.ones(4, 4, 8, 8), 3, None),
    "another size": (torch.ones(4, 4, 6, 10), 4, None),
    "one frame": (torch.ones(1, 4, 8, 8), 1, None),
}


@pytest.mark.parametrize("consumer", ["sampler", "decode"])
@pytest.mark.parametrize("name", list(LATENTS))
def test_latents(studio: Studio, graph: Graph, name: str, consumer: str) -> None:
    samples, frames, fragment = LATENTS[name]
    scene = Scene(studio, graph)
    latent = studio.latent(graph, samples, frames)
    if consumer == "sampler":
        scene.latent = latent
        link = scene.sample(steps=1)
    else:
        link = decode(graph, scene.vae, latent)
    if fragment is None:
        runs(studio, graph, result=link)
    else:
        assert fragment in refused(studio, graph, link)


@pytest.mark.parametrize("value", [NAN, INF])
def test_noise_that_is_not_finite_names_the_step(
    studio: Studio, graph: Graph, value: float
) -> None:
    scene = Scene(studio, graph)
    noise = unit_noise(0)
    noise[1, 2, 3, 4] = value
    link = scene.sample(steps=3, noise=studio.noise(graph, noise))
    message = refused(studio, graph, link)
    assert "after step 1 of 3" in message
    assert "not finite" in message


@pytest.mark.parametrize("part", ["model", "positive", "negative", "latent"])
def test_a_connection_that_is_not_there(studio: Studio, graph: Graph, part: str) -> None:
    link = Scene(studio, graph).sample(steps=1)
    del graph.prompt[link[0]]["inputs"][part]
    assert part in refused(studio, graph, link)


@pytest.mark.parametrize("part", ["model", "positive", "negative", "latent"])
def test_a_connection_of_another_type(studio: Studio, graph: Graph, part: str) -> None:
    scene = Scene(studio, graph)
    link = scene.sample(steps=1)
    graph.prompt[link[0]]["inputs"][part] = scene.picture
    assert part in refused(studio, graph, link)
