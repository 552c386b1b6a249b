"""The sampler's seed: noise in the layout of the published code, whatever the batch."""

import pytest
import torch
from graphs import Graph
from scene import FRAMES, SIZE, Scene
from studio import Studio, picture, relative_error

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
SEED, VIDEOS = 7, 2


def test_a_seed_is_noise_in_the_published_layout(studio: Studio, graph: Graph) -> None:
    images = torch.cat([picture(SIZE, SIZE, phase) for phase in (0.0, 2.0)])
    scene = Scene(studio, graph, image=images)
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn(VIDEOS, 4, FRAMES, SIZE // 8, SIZE // 8, generator=generator)
    given = studio.noise(graph, noise.transpose(1, 2).flatten(0, 1))
    found = studio.run(
        graph,
        by_seed=scene.sample(seed=SEED, steps=2),
        by_noise=scene.sample(noise=given, steps=2),
        by_another=scene.sample(seed=SEED + 1, steps=2),
    )
    expected = found["by_noise"][SAMPLES]
    assert relative_error(found["by_seed"][SAMPLES], expected) < 1e-6
    assert relative_error(found["by_another"][SAMPLES], expected) > 0.1
