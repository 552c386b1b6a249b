"""Across the nodes: an interrupt ends a prompt within one model call; the next one runs."""

import pytest
from graphs import Graph, Link
from holding import interrupted
from scene import Scene
from studio import Studio, relative_error

pytestmark = pytest.mark.server

SAMPLES = "value.samples"


@pytest.mark.parametrize("kind", ["ours", "stock"])
def test_an_interrupt_ends_the_model_call_it_meets(studio: Studio, kind: str) -> None:
    def latent_of(scene: Scene) -> Link:
        if kind == "stock":
            return scene.stock(steps=2, denoise=0.5)
        return scene.sample(steps=2, noise=scene.unit_noise())

    plain = Scene(studio, Graph())
    before = studio.run(plain.graph, latent=latent_of(plain))["latent"][SAMPLES]

    ran, layers = interrupted(Scene(studio, Graph()), latent_of).layers()
    assert ran == layers // 4

    again = Scene(studio, Graph())
    after = studio.run(again.graph, latent=latent_of(again))["latent"][SAMPLES]
    assert relative_error(after, before) < 1e-6
