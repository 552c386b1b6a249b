"""30 prompts in a row: flat memory after the third, every result equal to a fresh server's."""

from typing import Any

import pytest
import torch
from graphs import Graph
from memory import own_memory
from scene import Scene
from studio import Studio, picture
from torch import Tensor

pytestmark = [pytest.mark.server, pytest.mark.slow]

PROMPTS = 30
WARM_UP = 3
# The allocator keeps some megabytes; one lost network or video per prompt is far more.
ALLOWANCE = 48 * 1024**2
SIZES, LENGTHS = (64, 96, 72), (4, 3, 5, 2)


def run(studio: Studio, number: int) -> Tensor:
    """The frames of prompt `number`, whose image, size and length are its own."""
    graph = Graph()
    size, length = SIZES[number % len(SIZES)], LENGTHS[number % len(LENGTHS)]
    scene = Scene(
        studio,
        graph,
        image=picture(size, size, phase=number / 5),
        prompt=f"waves, number {number}",
        size=size,
        frames=length,
    )
    frames = graph.add(
        "DynamiCrafterVideoDecode",
        vae=scene.vae,
        samples=scene.sample(seed=number, steps=2, eta=1.0),
        chunk_frames=0,
        tile_size=0,
        drop_last_frame=False,
    )[0]
    return studio.run(graph, frames=frames)["frames"]["value"]


@pytest.fixture(scope="module")
def record(fresh_studio: Studio) -> dict[str, Any]:
    """Results and memory of the whole row on one server."""
    results, memory = [], []
    for number in range(PROMPTS):
        results.append(run(fresh_studio, number))
        memory.append(own_memory(fresh_studio.server))
    return {"results": results, "memory": memory}


def test_memory_is_flat_after_the_third_prompt(record: dict[str, Any]) -> None:
    memory = record["memory"]
    growth = [(used - memory[WARM_UP - 1]) / 1024**2 for used in memory[WARM_UP:]]
    print(f"MB above the third prompt: {[round(g, 1) for g in growth]}")  # noqa: T201
    assert max(growth) * 1024**2 < ALLOWANCE, [round(g) for g in growth]


def test_every_result_equals_a_fresh_servers(studio: Studio, record: dict[str, Any]) -> None:
    """The other server runs them in another order, and forgets everything before every fifth."""
    for number in reversed(range(PROMPTS)):
        if number % 5 == 4:
            studio.server.free_memory()
        assert torch.equal(record["results"][number], run(studio, number)), number
