"""An interrupt ends a prompt within one model call, and the next prompt runs as ever."""

import time

import pytest
from comfy_client import InterruptedPromptError
from graphs import Graph
from scene import Scene
from studio import Studio, relative_error

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

    held, name = Scene(studio, Graph()), f"hold-{kind}"
    held.model = held.graph.add("TestHold", model=held.model, name=name)[0]
    held.graph.add("TestSave", value=latent_of(held), name=name)
    output = studio.server.base / "output"
    prompt_id = studio.server.submit(held.graph.prompt)
    deadline = time.monotonic() + 60
    while not (output / f"{name}.inside").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    studio.server.interrupt()
    with pytest.raises(InterruptedPromptError):
        studio.server.wait(prompt_id, timeout=60)
    calls, layers = map(int, (output / f"{name}.calls").read_text("utf-8").split())
    assert calls == layers // 4
    assert not (output / f"{name}.safetensors").exists()

    again = Scene(studio, Graph())
    after = studio.run(again.graph, latent=latent_of(again))["latent"][SAMPLES]
    assert relative_error(after, before) < 1e-6
