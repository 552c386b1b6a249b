"""The MODEL with the stock TorchCompileModel node: what the compiler counts over whole runs.

The back end `eager` runs each graph as it is, so only the tracing takes time.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from comfy.ldm.modules import attention
from comfy_extras.nodes_torch_compile import TorchCompileModel
from host_sampling import FRAMES, SIDE, load_least, prompt, sample
from pack.nodes.host import keys
from torch._dynamo.utils import counters


@pytest.fixture(scope="module")
def loaded(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_least(golden, tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def compiled(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # A GPU's; what the host takes on a CPU asks for free memory, which no compiler can trace.
    monkeypatch.setattr(attention, "optimized_attention", attention.attention_pytorch)
    torch._dynamo.reset()
    counters.clear()
    yield TorchCompileModel.execute(loaded, "eager").args[0]
    torch._dynamo.reset()


def run(
    model: Any,
    *,
    seed: int = 0,
    steps: int = 2,
    frames: int = FRAMES,
    size: tuple[int, int] = (SIDE, SIDE),
) -> int:
    """Samples with prompts of the seed's own; the number of graphs so far."""
    draw = torch.Generator().manual_seed(seed)
    given = [prompt(draw, frames, size) for _ in range(2)]
    image = torch.randn(1, 4, *size, generator=draw)
    for conditioning in given:
        conditioning[0][1][keys.CONCAT_LATENT] = image  # The branches share one picture.
    sample(model, *given, steps=steps, seed=seed, frames=frames, size=size)
    return counters["stats"]["unique_graphs"]


traced = pytest.mark.skipif(
    "COMPILE_TESTS" not in os.environ, reason="traces for half a minute; COMPILE_TESTS=1 runs it"
)


@pytest.mark.slow
@traced
def test_one_graph_for_any_steps_seed_and_prompt(compiled: Any) -> None:
    """A break would make a graph of each side."""
    runs: list[dict[str, Any]] = [{"steps": 2}, {"steps": 3, "seed": 1}, {"seed": 2}]
    assert [run(compiled, **settings) for settings in runs] == [1, 1, 1]
    assert not counters["graph_break"]


@pytest.mark.slow
@traced
def test_one_graph_more_for_all_longer_videos(compiled: Any) -> None:
    """A CPU takes other convolutions for fewer than 16 images: below, there are more graphs."""
    assert [run(compiled, frames=frames) for frames in (16, 20, 33, 24)] == [1, 2, 2, 2]


@pytest.mark.slow
@traced
def test_one_graph_more_for_all_other_sizes(compiled: Any) -> None:
    sizes = [(8, 8), (16, 12), (12, 24), (24, 8)]
    assert [run(compiled, size=size) for size in sizes] == [1, 2, 2, 2]
