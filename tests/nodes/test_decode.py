"""Video Decode: which latents the VAE gets at once, and which frames come out."""

from typing import Any

import pytest
import torch
from fakes import FakeVAE
from pack.nodes.checks import InputError
from pack.nodes.decode import Pieces, VideoDecode, decode_video
from torch import Tensor

VIDEOS, FRAMES = 2, 4


class AlongTime(FakeVAE):
    """A VAE whose frames depend on their neighbours."""

    first_stage_model = torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1))


def latent(rows: int = VIDEOS * FRAMES, **values: Any) -> dict[str, Any]:
    """Each row has its own number in every place."""
    numbers = torch.arange(1.0, rows + 1)[:, None, None, None] / 10
    return {"samples": numbers.expand(-1, 4, 16, 16).clone(), "num_frames": FRAMES, **values}


def numbers(video: Tensor) -> list[list[float]]:
    """Of each frame of each video."""
    assert torch.equal(video, video[:, :, :1, :1, :1].expand_as(video))
    return [[round(x * 10) for x in one] for one in video[..., 0, 0, 0].tolist()]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ({}, {}, [[1, 2, 3, 4], [5, 6, 7, 8]]),
        ({}, {"drop_last_frame": True}, [[1, 2, 3], [5, 6, 7]]),
        ({}, {"num_frames": 2}, [[1, 2], [3, 4], [5, 6], [7, 8]]),
        ({"num_frames": 3}, {}, [[1, 2, 3, 4, 5, 6, 7, 8]]),
        ({"num_frames": 3}, {"drop_last_frame": True}, [[1, 2, 3, 4, 5, 6, 7]]),
    ],
)
def test_frames_of_each_video(values: Any, options: Any, expected: list[list[int]]) -> None:
    assert numbers(decode_video(FakeVAE(), latent(**values), **options)) == expected


@pytest.mark.parametrize(
    ("vae", "pieces", "calls"),
    [
        (FakeVAE(), Pieces(), [(8, None)]),
        (FakeVAE(), Pieces(3), [(3, None), (3, None), (2, None)]),
        (FakeVAE(), Pieces(0, 64), [(8, (8, 8, 2))]),
        (FakeVAE(), Pieces(0, 128), [(8, None)]),  # a tile that covers the picture
        (AlongTime(), Pieces(), [(4, None), (4, None)]),
        (AlongTime(), Pieces(2), [(2, None)] * 4),
    ],
)
def test_what_is_decoded_at_once(vae: FakeVAE, pieces: Pieces, calls: list[Any]) -> None:
    vae.decoded.clear()
    found = decode_video(vae, latent(), pieces=pieces)
    assert vae.decoded == calls
    assert numbers(found) == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("vae", "pieces", "warning"),
    [
        (FakeVAE(), Pieces(3), None),
        (FakeVAE(), Pieces(0, 64), "tiles of 64 pixels change the picture"),
        (AlongTime(), Pieces(2), "chunks of 2 frames change the picture"),
        (AlongTime(), Pieces(4), None),
    ],
)
def test_cuts_that_change_the_picture_are_logged(
    caplog: pytest.LogCaptureFixture, vae: FakeVAE, pieces: Pieces, warning: str | None
) -> None:
    decode_video(vae, latent(), pieces=pieces)
    assert caplog.text == "" if warning is None else warning in caplog.text


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ({}, {"num_frames": 3}, "8 frames are not a whole number of such videos"),
        ({"num_frames": 1}, {"drop_last_frame": True}, "needs at least 2 frames"),
        ({"samples": torch.zeros(8, 16, 2, 2)}, {}, "expected \\[frames, 4"),
        ({}, {"references": (None, torch.zeros(1, 16, 16, 3))}, "ToonCrafter's decoder"),
        ({"samples": torch.full((4, 4, 2, 2), float("nan"))}, {}, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(values: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_video(FakeVAE(), latent(**values), **options)


def test_the_frames_of_a_loaded_latent_are_asked_for() -> None:
    """Where they matter: without them the last frame of the batch alone would go."""
    loaded = {"samples": latent()["samples"]}
    assert numbers(decode_video(FakeVAE(), loaded)) == [[1, 2, 3, 4, 5, 6, 7, 8]]
    with pytest.raises(InputError, match="set num_frames"):
        decode_video(FakeVAE(), loaded, drop_last_frame=True)


def test_a_picture_that_is_not_finite_is_refused() -> None:
    class Overflowing(FakeVAE):
        def decode(self, latents: Tensor) -> Tensor:
            return super().decode(latents) * float("inf")

    with pytest.raises(InputError, match="--fp32-vae"):
        decode_video(Overflowing(), latent())


def test_the_node_gives_all_frames_and_the_last_one_of_each_video() -> None:
    images, last = VideoDecode.execute(FakeVAE(), latent(), 0, 0, False).args
    assert images.shape == (8, 128, 128, 3)
    assert torch.equal(last, images[[3, 7]])
