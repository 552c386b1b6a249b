"""Extend Video: what the new piece is guided by, what it holds, and what does not fit."""

from typing import Any

import pytest
import torch
from fakes import FakeVAE, conditioning
from pack.nodes.checks import InputError
from pack.nodes.extend import Extend, extend
from pack.nodes.host import keys
from pack.nodes.host.conditionings import Conditionings
from torch import Tensor

FRAMES, SIZE, LENGTH, OVERLAP = 4, 16, 5, 2


def film(frames: int = FRAMES, size: int = SIZE) -> Tensor:
    """Grey frames, each of its own brightness, which the fake VAE encodes to that number."""
    greys = torch.arange(1.0, frames + 1)[:, None, None, None] / 10
    return greys.expand(-1, size, size, 3).clone()


def run(
    images: Tensor, samples: Any = None, overlap: int = OVERLAP, vae: FakeVAE | None = None
) -> tuple[Any, Any]:
    texts = Conditionings(conditioning(), conditioning(), None)
    return extend(texts, vae or FakeVAE(), images, samples, LENGTH, overlap, 9)


@pytest.mark.parametrize("by_latent", [True, False])
def test_the_last_frames_are_held_and_the_very_last_guides(by_latent: bool) -> None:
    vae = FakeVAE()
    images = film()
    samples = {"samples": FakeVAE().encode(images), "num_frames": FRAMES} if by_latent else None
    guided, latent = run(images, samples, vae=vae)
    # A latent spares the frames a second trip through the VAE.
    assert [len(batch) for batch in vae.encoded] == ([] if by_latent else [OVERLAP])
    values = guided.positive[0][1]
    assert torch.allclose(values[keys.CONCAT_LATENT], torch.full((LENGTH, 4, 2, 2), 0.4))
    assert (values[keys.NUM_FRAMES], values[keys.SPEED], values[keys.MODE]) == (5, 9, "animate")
    rows = [[0.3], [0.4], [0.0], [0.0], [0.0]]
    expected = torch.tensor(rows)[:, :, None, None].expand(-1, 4, 2, 2)
    assert torch.allclose(latent["samples"], expected)
    assert torch.allclose(values[keys.HELD_LATENTS], expected[:OVERLAP])
    assert latent["noise_mask"].shape == (LENGTH, 1, 2, 2)
    assert latent["noise_mask"].flatten(1).amax(dim=1).tolist() == [0, 0, 1, 1, 1]
    assert latent["num_frames"] == LENGTH
    assert guided.image_only is None


def other_latent(rows: int = FRAMES, size: int = 2, frames: int = 0, **values: Any) -> Any:
    samples = {"samples": torch.ones(rows, 4, size, size), **values}
    return samples | ({"num_frames": frames} if frames else {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 5}, "with 4 frames to extend and a length of 5 choose 1 to 4"),
        ({"images": film(9), "overlap": 5}, "choose 1 to 4"),
        ({"images": film(size=20)}, "choose a multiple of 8"),
        ({"samples": other_latent(3)}, "3 latent frames; expected 4"),
        ({"samples": other_latent(size=3)}, "samples are of 24 x 24 pixels, but images have 16 x"),
        ({"samples": other_latent(frames=2)}, "samples are 2 videos of 2 frames"),
        ({"samples": {"samples": torch.zeros(4, 16, 2, 2)}}, "expected \\[frames, 4"),
        ({"samples": {"samples": torch.full((4, 4, 2, 2), float("nan"))}}, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(**{"images": film(), **options})


def test_the_frames_before_come_out_without_alpha() -> None:
    images = torch.cat([film(), torch.rand(FRAMES, SIZE, SIZE, 1)], dim=-1)
    texts = conditioning(), conditioning()
    before = Extend.execute(*texts, FakeVAE(), images, LENGTH, OVERLAP, 0).args[4]
    assert torch.equal(before, film()[:-OVERLAP])
