"""Across the pack: 60 prompts at random, valid, invalid, cancelled, dropped, abandoned."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from comfyui.client import ComfyClient, InterruptedPromptError, PromptError
from graphs import Graph
from holding import Hold
from memory import own_memory, settled_memory
from PIL import Image
from scene import Scene
from studio import PATIENCE, Studio, picture
from torch import Tensor

from dc_model.checkpoint.inspect import read_checkpoint

pytestmark = [pytest.mark.server, pytest.mark.slow]

PROMPTS = 60
# Of the prompts that are cancelled.
STEPS = 12
# After so many every kind has run, and the server has imported and allocated all that it needs.
WARM_UP = 30
ALLOWANCE = 32 * 1024**2
# (variant, pixels, frames, steps): what valid prompts are drawn from.
VALID = [("512", 64, 4, 2), ("512", 72, 3, 1), ("512", 64, 2, 3), ("512", 48, 5, 1)]


def scene_of(studio: Studio, graph: Graph, kind: int) -> Scene:
    variant, size, frames, _ = VALID[kind]
    image = picture(size, size, phase=kind)
    return Scene(studio, graph, variant, image=image, size=size, frames=frames)


def valid(studio: Studio, kind: int) -> Tensor:
    graph = Graph()
    latent = scene_of(studio, graph, kind).sample(seed=kind, steps=VALID[kind][3], eta=1.0)
    return studio.run(graph, latent=latent)["latent"]["value.samples"]


def held_prompt(studio: Studio, name: str, step: int) -> tuple[Graph, Hold]:
    """A run that stops in one of its steps; its end would write a picture and tensors."""
    graph = Graph()
    scene = scene_of(studio, graph, 0)
    hold = Hold(scene, step)
    latent = scene.sample(steps=STEPS)
    frames = graph.add("VAEDecode", vae=scene.vae, samples=latent)[0]
    graph.add(
        "SaveAnimatedWEBP",
        images=frames,
        filename_prefix=name,
        fps=6.0,
        lossless=False,
        quality=80,
        method="default",
    )
    graph.add("TestSave", value=latent, name=name)
    return graph, hold


class Soak:
    """The kinds of prompts, each of which leaves the queue empty."""

    def __init__(self, studio: Studio, seed: int):
        self.studio, self.server = studio, studio.server
        self.random = random.Random(seed)
        self.results: list[tuple[int, Tensor]] = []
        self.counts: Counter[str] = Counter()
        self.grown = 0

    def kinds(self) -> list[Callable[[], None]]:
        often = [self.valid] * 5 + [self.refused] * 3 + [self.failed] * 3
        return [*often, self.cancelled, self.dropped, self.abandoned]

    def run(self, prompts: int) -> None:
        for _ in range(prompts):
            kind = self.random.choice(self.kinds())
            self.counts[kind.__name__] += 1
            kind()

    def valid(self) -> None:
        kind = self.random.randrange(len(VALID))
        self.results.append((kind, valid(self.studio, kind)))

    def refused(self) -> None:
        """By the server, before the run."""
        graph = Graph()
        widget, value = self.random.choice(
            [("steps", -1), ("cfg", "x"), ("spacing", "odd"), ("latent", None), ("model", ["1", 1])]
        )
        link = scene_of(self.studio, graph, 0).sample()
        graph.prompt[link[0]]["inputs"][widget] = value
        self.studio.error(graph, link)

    def failed(self) -> None:
        """By a node, in the run."""
        graph = Graph()
        scene = scene_of(self.studio, graph, 0)
        latent = torch.ones(4, 4, 8, 8)
        choice = self.random.randrange(4)
        if choice == 0:
            link = scene.sample(cfg=float("nan"))
        elif choice == 1:
            latent[2] = float("nan")
            scene.latent = self.studio.latent(graph, latent)
            link = scene.sample()
        elif choice == 2:
            scene.positive = Scene.text(scene, "no image").positive
            link = scene.sample()
        else:
            noise = latent.clone()
            noise[0, 0, 0, 0] = float("inf")
            link = scene.sample(noise=self.studio.noise(graph, noise))
        self.studio.error(graph, link)

    def cancelled(self) -> None:
        """Mid-run, at a random step."""
        step = 1 + self.random.randrange(STEPS)
        graph, hold = held_prompt(self.studio, "cancelled", step)
        self.interrupted(self.server.submit(graph.prompt), hold)

    def dropped(self) -> None:
        """Queued after a run, and the queue cleared."""
        graph, hold = held_prompt(self.studio, "cancelled", 1)
        first = self.server.submit(graph.prompt)
        graphs = [held_prompt(self.studio, f"dropped-{i}", 1)[0] for i in range(3)]
        waiting = [self.server.submit(graph.prompt) for graph in graphs]
        hold.wait(self.server, first)
        self.server._request("/queue", {"clear": True})
        self.interrupted(first, hold)
        assert all(self.server.history(prompt_id) is None for prompt_id in waiting)

    def abandoned(self) -> None:
        """By a client that goes before the result comes."""
        client = ComfyClient(self.server.host, self.server.port)
        graph = Graph()
        scene = scene_of(self.studio, graph, 0)
        latent = scene.sample(seed=self.random.randrange(1000), steps=10)
        graph.add("TestSave", value=latent, name="abandoned")
        with client.events():
            prompt_id = client.submit(graph.prompt)
        self.server.wait(prompt_id, PATIENCE)

    def interrupted(self, prompt_id: str, hold: Hold) -> None:
        hold.wait(self.server, prompt_id)
        self.server.interrupt()
        with pytest.raises(InterruptedPromptError):
            self.server.wait(prompt_id, PATIENCE)
        hold.remove()


@pytest.fixture(scope="module")
def soaked(fresh_studio: Studio) -> Soak:
    soak = Soak(fresh_studio, seed=6)
    soak.run(WARM_UP)
    before = own_memory(soak.server)
    soak.run(PROMPTS - WARM_UP)
    soak.grown = settled_memory(soak.server, before + ALLOWANCE) - before
    return soak


def test_memory_is_flat(soaked: Soak) -> None:
    assert set(soaked.counts) == {kind.__name__ for kind in soaked.kinds()}
    assert soaked.grown < ALLOWANCE, f"{soaked.grown / 1024**2:.0f} MB"


def test_the_queue_is_empty_and_the_server_answers(soaked: Soak) -> None:
    queue = soaked.server.get("/queue")
    assert queue == {"queue_running": [], "queue_pending": []}
    assert soaked.server.system_stats()["devices"]
    assert "DynamiCrafterSampler" in soaked.server.object_info()


def test_no_partial_file_is_left(soaked: Soak) -> None:
    files = [p for p in (soaked.server.base / "output").rglob("*") if p.is_file()]
    for path in files:
        assert not path.name.startswith(("cancelled", "dropped"))
        if path.suffix == ".safetensors":
            read_checkpoint(path)
        else:
            Image.open(path).verify()


def test_every_valid_result_equals_a_fresh_servers(soaked: Soak, studio: Studio) -> None:
    assert len(soaked.results) > PROMPTS // 5
    expected = {}
    for kind in range(len(VALID)):
        studio.forget()
        expected[kind] = valid(studio, kind)
    for kind, result in soaked.results:
        assert torch.equal(result, expected[kind]), kind


def test_a_failed_prompt_says_why_at_the_end_as_at_the_start(soaked: Soak) -> None:
    graph = Graph()
    link = scene_of(soaked.studio, graph, 0).sample(cfg=float("nan"))
    graph.add("TestSave", value=link, name="unused")
    with pytest.raises(PromptError, match="cfg is nan"):
        soaked.server.prompt(graph.prompt, timeout=PATIENCE)
