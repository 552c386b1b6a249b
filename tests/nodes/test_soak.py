"""200 prompts at random on one server: valid, invalid, cancelled, dropped, abandoned."""

import random
import time
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from comfy_client import ComfyClient, InterruptedPromptError, PromptError
from graphs import Graph
from memory import own_memory
from PIL import Image
from scene import Scene
from studio import Studio, picture
from torch import Tensor
from web_socket import WebSocket

from dc_model.inspect_file import inspect_file

pytestmark = [pytest.mark.server, pytest.mark.slow]

PROMPTS = 200
# After so many every kind has run, and the server has imported and allocated all that it needs.
WARM_UP = 60
ALLOWANCE = 64 * 1024**2
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


def long_prompt(studio: Studio, name: str) -> Graph:
    """A run of many steps, whose end writes a picture and a file of tensors."""
    graph = Graph()
    scene = scene_of(studio, graph, 0)
    latent = scene.sample(seed=hash(name) % 1000, steps=1000)
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
    return graph


class Soak:
    """The kinds of prompts, each of which leaves the queue empty."""

    def __init__(self, studio: Studio, seed: int):
        self.studio, self.server = studio, studio.server
        self.random = random.Random(seed)
        self.results: list[tuple[int, Tensor]] = []
        self.counts: Counter[str] = Counter()

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
        prompt_id = self.server.submit(long_prompt(self.studio, "cancelled").prompt)
        self.running(prompt_id)
        time.sleep(self.random.random() / 2)
        self.server.interrupt()
        with pytest.raises(InterruptedPromptError):
            self.server.wait(prompt_id, timeout=30)

    def dropped(self) -> None:
        """Queued behind a run, and the queue cleared."""
        first = self.server.submit(long_prompt(self.studio, "cancelled").prompt)
        waiting = [
            self.server.submit(long_prompt(self.studio, f"dropped-{i}").prompt) for i in range(3)
        ]
        self.running(first)
        self.server._request("/queue", {"clear": True})
        self.server.interrupt()
        with pytest.raises(InterruptedPromptError):
            self.server.wait(first, timeout=30)
        assert all(self.server.history(prompt_id) is None for prompt_id in waiting)

    def abandoned(self) -> None:
        """By a client that goes before the result comes."""
        client = ComfyClient(self.server.host, self.server.port)
        graph = Graph()
        scene = scene_of(self.studio, graph, 0)
        latent = scene.sample(seed=self.random.randrange(1000), steps=30)
        graph.add("TestSave", value=latent, name="abandoned")
        with WebSocket(client.host, client.port, f"/ws?clientId={client._client_id}"):
            prompt_id = client.submit(graph.prompt)
            time.sleep(0.1)
        self.server.wait(prompt_id, timeout=30)

    def running(self, prompt_id: str) -> None:
        """Returns when the server has taken the prompt up."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            queue = self.server.get("/queue")
            if any(entry[1] == prompt_id for entry in queue["queue_running"]):
                return
            time.sleep(0.02)
        raise AssertionError(f"prompt {prompt_id} never started")


@pytest.fixture(scope="module")
def soaked(fresh_studio: Studio) -> Soak:
    return Soak(fresh_studio, seed=6)


def test_memory_is_flat(soaked: Soak) -> None:
    soaked.run(WARM_UP)
    before = own_memory(soaked.server)
    soaked.run(PROMPTS - WARM_UP)
    grown = own_memory(soaked.server) - before
    assert set(soaked.counts) == {kind.__name__ for kind in soaked.kinds()}
    assert grown < ALLOWANCE, f"{grown / 1024**2:.0f} MB"


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
            inspect_file(path)
        else:
            Image.open(path).verify()


def test_every_valid_result_equals_a_fresh_servers(soaked: Soak, studio: Studio) -> None:
    assert len(soaked.results) > PROMPTS // 5
    expected = {}
    for kind in range(len(VALID)):
        studio.server.free_memory()
        expected[kind] = valid(studio, kind)
    for kind, result in soaked.results:
        assert torch.equal(result, expected[kind]), kind


def test_a_failed_prompt_says_why_at_the_end_as_at_the_start(soaked: Soak) -> None:
    graph = Graph()
    link = scene_of(soaked.studio, graph, 0).sample(cfg=float("nan"))
    graph.add("TestSave", value=link, name="unused")
    with pytest.raises(PromptError, match="cfg is nan"):
        soaked.server.prompt(graph.prompt, timeout=30)
