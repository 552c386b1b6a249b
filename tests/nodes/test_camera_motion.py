"""Camera Motion: presets, written paths and depth at the video's size."""

import pytest
import torch
from pack.nodes.camera_motion import film
from pack.nodes.checks import InputError
from torch import Tensor

SIZE = (32, 16, 3)


def picture() -> Tensor:
    return torch.rand(1, 32, 64, 3, generator=torch.Generator().manual_seed(0))


def test_a_preset_is_the_same_path_in_writing() -> None:
    preset, mask = film(picture(), "pan_right", 0.5, "", SIZE)
    written, _ = film(picture(), "path", 9.0, "0.5, 0", SIZE)
    assert preset.shape == (3, 16, 32, 3)
    assert mask.shape == (3, 16, 32)
    torch.testing.assert_close(preset, written)


def test_depth_may_be_of_another_size() -> None:
    depth = torch.linspace(0, 1, 30).expand(15, 30)[None, ..., None].expand(-1, -1, -1, 3)
    video, _ = film(picture(), "orbit_left", 0.2, "", SIZE, depth)
    assert not torch.equal(video[0], video[-1])


@pytest.mark.parametrize(
    ("move", "depth", "found"),
    [
        ("orbit_left", None, "An orbit needs a depth picture"),
        ("orbit_left", torch.zeros(1, 32, 32, 3), "depth picture has 32 x 32 pixels"),
        ("pan_left", torch.zeros(2, 32, 64, 3), "2 depth pictures; expected 1"),
    ],
)
def test_what_does_not_fit_is_refused(move: str, depth: Tensor | None, found: str) -> None:
    with pytest.raises((InputError, ValueError), match=found):
        film(picture(), move, 0.2, "", SIZE, depth)
