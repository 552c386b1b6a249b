"""Which frames are pinned, by what their conditioning holds."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pack.nodes.checks import InputError
from pack.nodes.host import keys
from pack.nodes.host.held_frames import extended_rows, given_rows, pinned_rows

FRAMES = 4


def concat(*given: int, videos: int = 2) -> torch.Tensor:
    """Visual detail guidance with an image at these frames of every video."""
    rows = torch.zeros(videos, FRAMES, 4, 2, 2)
    rows[:, list(given)] = 1.0
    return rows.flatten(0, 1)


@pytest.mark.parametrize(
    ("frames", "mode", "given", "expected"),
    [
        ("first", "interpolate", (0, 3), (0,)),
        ("given", "interpolate", (0, 3), (0, 3)),
        ("given", "loop", (0, 3), (0, 3)),
        ("given", "keyframes", (0, 1), (0, 1)),
        # In these every frame has a latent, which is not its own image.
        ("given", "animate", (0, 1, 2, 3), (0,)),
        ("given", "per_frame", (0, 1, 2, 3), (0,)),
    ],
)
def test_given_rows(
    frames: str, mode: str, given: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    found = given_rows(concat(*given), FRAMES, frames, mode).view(2, FRAMES)
    for video in found:
        assert tuple(video.nonzero().flatten().tolist()) == expected


def conds(**values: Any) -> dict[str, Any]:
    model_conds = {
        "num_video_frames": SimpleNamespace(cond=FRAMES),
        "c_concat": SimpleNamespace(cond=concat(0, 3)),
    }
    return {"positive": [{"model_conds": model_conds, **values}]}


def test_what_is_held_already_stays() -> None:
    noise = torch.zeros(2 * FRAMES, 4, 2, 2)
    mask = torch.ones(2 * FRAMES, 1, 2, 2)
    mask[0] = 0
    found = pinned_rows(conds(**{keys.MODE: "loop"}), noise, mask, "given")
    assert found.rows.flatten().tolist() == [False, False, False, True, True, False, False, True]


def test_a_video_without_images_has_none_to_pin() -> None:
    with pytest.raises(InputError, match="found no image in the conditionings"):
        pinned_rows({"positive": []}, torch.zeros(4, 4, 2, 2), torch.ones(4, 1, 2, 2), "first")


@pytest.mark.parametrize("held", [None, torch.ones(2, 4, 2, 2)])
def test_only_an_extended_video_has_frames_of_its_own(held: torch.Tensor | None) -> None:
    entry = conds(**{keys.HELD_LATENTS: held, keys.NUM_FRAMES: FRAMES})
    model = SimpleNamespace(process_latent_in=lambda latents: latents)
    guider: Any = SimpleNamespace(conds=entry, inner_model=model)
    rows = extended_rows(guider, torch.zeros(2 * FRAMES, 4, 2, 2)).rows.flatten().tolist()
    first = held is not None
    assert rows == [first, first, False, False] * 2
