"""Across the nodes: an interrupt ends a prompt within one model call; the next one runs."""

import pytest
from comfyui.client import InterruptedPromptError
from graphs import Graph
from holding import Hold
from scene import Scene
from studio import PATIENCE, Studio, relative_error

pytestmark = pytest.mark.server

SAMPLES = "value.samples"


@pytest.mark.parametrize("kind", ["ours", "stock"])
def test_an_interrupt_ends_the_model_call_it_meets(studio: Studio, kind: str) -> None:
    def latent_of(scene: Scene):
        if kind == "stock":
            return scene.stock(steps=2, denoise=0.5)
        return scene.sample(steps=2, noise=scene.unit_noise())

    plain = Scene(studio, Graph())
    before = studio.run(plain.graph, latent=latent_of(plain))["latent"][SAMPLES]

    held, name = Scene(studio, Graph()), f"held-{kind}"
    hold = Hold(held)
    held.graph.add("TestSave", value=latent_of(held), name=name)
    prompt_id = studio.server.submit(held.graph.prompt)
    hold.wait(studio.server, prompt_id)
    studio.server.interrupt()
    with pytest.raises(InterruptedPromptError):
        studio.server.wait(prompt_id, timeout=PATIENCE)
    ran, layers = hold.layers()
    assert ran == layers // 4
    assert not (studio.server.base / "output" / f"{name}.safetensors").exists()

    again = Scene(studio, Graph())
    after = studio.run(again.graph, latent=latent_of(again))["latent"][SAMPLES]
    assert relative_error(after, before) < 1e-6
