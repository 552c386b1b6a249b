"""A MODEL of the least size, loaded by the pack and sampled by the host in this process."""

from pathlib import Path
from typing import Any

import torch
from fakes import conditioning
from safetensors.torch import save_file
from small_checkpoint import LEAST, state_dict
from torch import Tensor

FRAMES, SIDE = 3, 8


def load_least(golden: Path, folder: Path) -> Any:
    """A MODEL of the 512 variant with random weights."""
    from pack.nodes.load import load_checkpoint

    path = folder / "least.safetensors"
    save_file(state_dict(golden / "pipeline" / "512_frames8.json", "512", arch=LEAST), path)
    return load_checkpoint(str(path), "512", "fp32").model


def prompt(
    draw: torch.Generator, frames: int = FRAMES, size: tuple[int, int] = (SIDE, SIDE), **values: Any
) -> Any:
    """A CONDITIONING of random text, image tokens and image; values replace or add settings."""
    from pack.nodes.host import keys

    given = conditioning(
        LEAST.context_dim,
        **{
            keys.CONCAT_LATENT: torch.randn(1, 4, *size, generator=draw),
            keys.IMAGE_CONTEXT: torch.randn(1, 64, LEAST.context_dim, generator=draw),
            keys.NUM_FRAMES: frames,
            **values,
        },
    )
    given[0][0] = torch.randn(1, 77, LEAST.context_dim, generator=draw)
    return given


def sample(
    model: Any,
    positive: Any,
    negative: Any,
    *,
    steps: int = 2,
    seed: int = 0,
    frames: int = FRAMES,
    size: tuple[int, int] = (SIDE, SIDE),
    cfg: float = 7.5,
) -> Tensor:
    """By the host's own sampler, with guidance; `[T, 4, h, w]`."""
    import comfy.sample

    latent = torch.zeros(frames, 4, *size)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
    return comfy.sample.sample(
        model, noise, steps, cfg, "euler", "normal", positive, negative, latent,
        disable_pbar=True, seed=seed,
    )  # fmt: skip
