"""LATENTs: how many of their rows make a video."""

from typing import Any

import pytest
import torch
from fakes import conditioning
from pack.nodes.host import keys
from pack.nodes.host.latents import empty_latent, frames_per_video, warn_of_squeeze, with_length


def latent(**values: Any) -> dict[str, Any]:
    return {"samples": torch.zeros(6, 4, 2, 2), **values}


def test_an_empty_latent_is_an_eighth_of_the_size() -> None:
    found = empty_latent(2, 3, 16, 24)
    assert found["samples"].shape == (6, 4, 2, 3)
    assert frames_per_video(found) == 3


@pytest.mark.parametrize("number", [None, 4, 0, -3, "3", [3]])
def test_a_number_that_cannot_be_means_one_video(number: Any) -> None:
    assert frames_per_video(latent(num_frames=number)) == 6


@pytest.mark.parametrize(
    ("values", "known", "expected"),
    [({}, 3, 3), ({}, 4, None), ({}, 0, None), ({"num_frames": 2}, 3, 2)],
)
def test_a_loaded_latent_gets_the_conditionings_number(
    values: dict[str, Any], known: int, expected: int | None
) -> None:
    given = latent(**values)
    found = with_length(given, conditioning(**{keys.NUM_FRAMES: known}))
    assert found.get("num_frames") == expected
    assert given.keys() == latent(**values).keys()


@pytest.mark.parametrize(
    ("size", "squeezed"),
    [((40, 64), False), ((60, 96), False), ((41, 64), False), ((72, 128), True), ((64, 40), True)],
)
def test_images_that_no_longer_fit_are_named_in_the_log(
    caplog: pytest.LogCaptureFixture, size: tuple[int, int], squeezed: bool
) -> None:
    assert warn_of_squeeze(torch.zeros(4, 4, 40, 64), (4, 4, *size)) is squeezed
    assert ("are 512 x 320, the latents" in caplog.text) is squeezed
