"""The MODEL with the stock TorchCompileModel node: what the compiler counts over whole runs.

The back end `eager` runs each graph as it is, so only the tracing takes time.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.sample
import pytest
import torch
from comfy.ldm.modules import attention
from comfy_extras.nodes_torch_compile import TorchCompileModel
from fakes import conditioning
from pack.nodes.host import keys
from pack.nodes.load import load_checkpoint
from safetensors.torch import save_file
from small_checkpoint import SMALL, replace, state_dict
from torch._dynamo.utils import counters

# One level: what is traced is the same layers over again.
ARCH = replace(SMALL, model_channels=32, channel_mult=(1,), attention_levels=(True,))
FRAMES, SIDE = 3, 8


@pytest.fixture(scope="module")
def loaded(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    case = golden / "pipeline" / "512_frames8.json"
    path = tmp_path_factory.mktemp("compiled") / "least.safetensors"
    save_file(state_dict(case, "512", arch=ARCH), path)
    return load_checkpoint(str(path), "512", "fp32").model


@pytest.fixture
def compiled(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # A GPU's; what the host takes on a CPU asks for free memory, which no compiler can trace.
    monkeypatch.setattr(attention, "optimized_attention", attention.attention_pytorch)
    torch._dynamo.reset()
    counters.clear()
    yield TorchCompileModel.execute(loaded, "eager").args[0]
    torch._dynamo.reset()


def sample(
    model: Any,
    *,
    steps: int = 2,
    seed: int = 0,
    frames: int = FRAMES,
    size: int = SIDE,
    cfg: float = 7.5,
) -> torch.Tensor:
    """By the host's own sampler, with guidance and a prompt of the seed's."""
    draw = torch.Generator().manual_seed(seed)

    def prompt() -> Any:
        given = conditioning(
            ARCH.context_dim,
            **{
                keys.CONCAT_LATENT: torch.randn(1, 4, size, size, generator=draw),
                keys.IMAGE_CONTEXT: torch.randn(1, 64, ARCH.context_dim, generator=draw),
                keys.NUM_FRAMES: frames,
            },
        )
        given[0][0] = torch.randn(1, 77, ARCH.context_dim, generator=draw)
        return given

    latent = torch.zeros(frames, 4, size, size)
    noise = torch.randn(latent.shape, generator=draw)
    return comfy.sample.sample(
        model, noise, steps, cfg, "euler", "normal", prompt(), prompt(), latent,
        disable_pbar=True, seed=seed,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(
    "COMPILE_TESTS" not in os.environ, reason="traces for half a minute; COMPILE_TESTS=1 runs it"
)
def test_one_graph_for_any_steps_seed_and_prompt(compiled: Any) -> None:
    """A break would make a graph of each side."""
    counted = []
    for settings in ({"steps": 2}, {"steps": 3, "seed": 1}, {"seed": 2}):
        sample(compiled, **settings)
        counted.append(counters["stats"]["unique_graphs"])
    assert counted == [1, 1, 1]
