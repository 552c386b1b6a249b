"""Drag Motion: pictures and masks at the video's size, and the path that is shown."""

import pytest
import torch
from pack.nodes.checks import InputError
from pack.nodes.drag_motion import drag_picture
from torch import Tensor

SIZE = (32, 16, 3)


def picture() -> Tensor:
    return torch.rand(1, 32, 64, 3, generator=torch.Generator().manual_seed(0))


def mask() -> Tensor:
    """A square of 8 pixels in the video around (8, 8)."""
    found = torch.zeros(1, 32, 64)
    found[:, 8:24, 8:24] = 1
    return found


def test_all_comes_at_the_size_of_the_video() -> None:
    found = drag_picture(picture(), mask(), "20, 8", SIZE)
    assert found.reference.shape == (3, 16, 32, 3)
    assert found.mask.shape == (3, 16, 32)
    assert found.preview.shape == (1, 16, 32, 3)
    columns = [m.sum(dim=0).nonzero().flatten().tolist() for m in found.mask]
    assert [(min(c) + max(c) + 1) / 2 for c in columns] == pytest.approx([8, 14, 20], abs=0.5)


def test_the_path_is_drawn_where_it_is() -> None:
    grey = torch.full((1, 64, 128, 3), 0.5)
    square = torch.zeros(1, 64, 128)
    square[:, 24:40, 24:40] = 1
    found = drag_picture(grey, square, "100, 32", (128, 64, 4)).preview[0]
    drawn = (found - 0.5).abs().amax(dim=-1) > 0.05
    assert bool(drawn[32, 30:102].all())
    assert not bool(drawn[:20].any())


def test_masks_of_each_frame_take_the_place_of_the_text() -> None:
    there = mask().roll(24, dims=2)
    both = torch.cat([mask(), there])
    one = drag_picture(picture(), mask(), "not a path", SIZE, both)
    two = drag_picture(picture(), mask(), "20, 8", SIZE)
    torch.testing.assert_close(one.reference, two.reference)


@pytest.mark.parametrize(
    ("image", "painted", "size", "found"),
    [
        (picture(), torch.zeros(1, 64, 64), SIZE, "A mask has 64 x 64 pixels, the image 64 x 32"),
        (picture().repeat(2, 1, 1, 1), mask(), SIZE, "2 images; expected 1"),
        (picture(), mask().repeat(2, 1, 1), SIZE, "2 masks of what moves; expected 1"),
        (picture(), mask() * 0.01, SIZE, "The mask is empty at the video's size; paint it white"),
        (picture(), mask(), (16, 64, 3), "The mask is empty at the video's size"),
        (picture(), mask(), (30, 16, 3), "width is 30; choose a multiple of 8"),
    ],
)
def test_what_does_not_fit_is_refused(
    image: Tensor, painted: Tensor, size: tuple[int, int, int], found: str
) -> None:
    with pytest.raises(ValueError, match=found):
        drag_picture(image, painted, "20, 8", size)


def test_a_video_beyond_the_memory_is_refused_before_the_work() -> None:
    with pytest.raises(InputError, match=r"1024 frames of 8192 x 8192 need .* GB, but"):
        drag_picture(picture(), mask(), "20, 8", (8192, 8192, 1024))
