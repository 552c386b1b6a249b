"""Across the pack: 13 prompts in a row keep memory flat and equal a fresh server's results.

What a process takes of the system says little: the C library keeps holes, oneDNN keeps code for
every shape. Here it is what is in use that must stay, oneDNN apart (`docs/memory.md`).
"""

from dataclasses import dataclass, field

import pytest
import torch
from graphs import Graph
from memory import InUse, in_use, own_memory, without_one_dnn
from scene import Scene
from studio import Studio, picture
from torch import Tensor

pytestmark = [pytest.mark.server, pytest.mark.slow]

PROMPTS = 13
WARM_UP = 3
SIZES, LENGTHS = (64, 72), (4, 3, 5)
# Prompts until a size and a length come back together.
PERIOD = len(SIZES) * len(LENGTHS)
# Over the 10 prompts, beside tensors. Measured: 0.1 MB in 13, the host's history of prompts.
HEAP_GROWTH = 2**20
# Objects of each prompt that stay: the host's history, about 55 on a graph of this size.
OBJECTS_PER_PROMPT = 150
# Pages of the process. One lost network or video per prompt is far more.
PROCESS_GROWTH = 48 * 2**20


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
    latent = scene.sample(seed=number, steps=2, eta=1.0)
    frames = scene.decode(latent, chunk_frames=16)[0]
    return studio.run(graph, frames=frames)["frames"]["value"]


@dataclass
class Record:
    """Results and memory of the whole row on one server, prompt by prompt."""

    results: list[Tensor] = field(default_factory=list)
    in_use: list[InUse] = field(default_factory=list)
    process: list[int] = field(default_factory=list)


@pytest.fixture(scope="module")
def record(fresh_studio: Studio) -> Record:
    found = Record()
    with without_one_dnn(fresh_studio):
        for number in range(PROMPTS):
            found.results.append(run(fresh_studio, number))
            found.in_use.append(in_use(fresh_studio.server))
            found.process.append(own_memory(fresh_studio.server))
    return found


def above_third(values: list[int]) -> list[int]:
    return [value - values[WARM_UP - 1] for value in values[WARM_UP:]]


def test_no_tensor_stays(record: Record) -> None:
    """A prompt leaves exactly the bytes that the last one of its size and length left."""
    tensors = [used.tensors for used in record.in_use]
    assert tensors[WARM_UP + PERIOD :] == tensors[WARM_UP:-PERIOD]


def test_the_heap_in_use_is_flat_after_the_third_prompt(record: Record) -> None:
    heaps = [used.heap - used.tensors for used in record.in_use if used.heap is not None]
    if not heaps:
        pytest.skip("the C library has no mallinfo2")
    growth = above_third(heaps)
    assert max(growth) < HEAP_GROWTH, [round(g / 1024) for g in growth]


def test_no_objects_gather(record: Record) -> None:
    growth = above_third([used.objects for used in record.in_use])
    assert growth[-1] < OBJECTS_PER_PROMPT * len(growth), growth


def test_the_process_is_flat_after_the_third_prompt(record: Record) -> None:
    growth = above_third(record.process)
    assert max(growth) < PROCESS_GROWTH, [round(g / 2**20) for g in growth]


def test_every_result_equals_a_fresh_servers(studio: Studio, record: Record) -> None:
    """The other server runs them in another order.

    It forgets everything before the first and every fifth.
    """
    with without_one_dnn(studio):
        for number in reversed(range(PROMPTS)):
            if (PROMPTS - 1 - number) % 5 == 0:
                studio.forget()
            assert torch.equal(record.results[number], run(studio, number)), number
