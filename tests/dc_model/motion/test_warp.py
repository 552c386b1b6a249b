"""Warp: filled holes, and pictures that are moved, scaled and turned."""

import pytest
import torch
import torch.nn.functional as F

from dc_model.motion.warp import fill, grown, place


def test_known_places_stay_and_holes_continue_them() -> None:
    picture = torch.linspace(0, 1, 33).expand(2, 25, 33).clone()
    known = torch.ones(25, 33)
    known[8:14, 10:17] = 0
    damaged = torch.where(known > 0, picture, torch.full_like(picture, 9.0))
    found = fill(damaged, known)
    assert torch.equal(found[:, known > 0], picture[:, known > 0])
    torch.testing.assert_close(found, picture, atol=0.12, rtol=0)


def test_one_known_pixel_fills_all() -> None:
    known = torch.zeros(5, 7)
    known[4, 0] = 1
    torch.testing.assert_close(fill(torch.full((1, 5, 7), 0.3), known), torch.full((1, 5, 7), 0.3))


def test_nothing_known_cannot_be_filled() -> None:
    with pytest.raises(ValueError, match="Nothing of the picture is left"):
        fill(torch.zeros(1, 4, 4), torch.zeros(4, 4))


def test_whole_pixels_are_moved_exactly() -> None:
    picture = torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(0))
    found = place(picture, (5.0, 4.0), (7.0, 3.0), 1.0, 0.0)
    torch.testing.assert_close(found[:, :-1, 2:], picture[:, 1:, :-2], atol=1e-5, rtol=0)
    assert bool((found[:, :, :2] == 0).all())


def test_a_quarter_turn_is_clockwise() -> None:
    picture = torch.rand(1, 7, 7, generator=torch.Generator().manual_seed(0))
    found = place(picture, (3.5, 3.5), (3.5, 3.5), 1.0, 90.0)
    torch.testing.assert_close(found, picture.rot90(-1, (1, 2)), atol=1e-5, rtol=0)


def test_masks_grow_and_shrink() -> None:
    mask = torch.zeros(7, 7)
    mask[3, 3] = 1
    assert float(grown(mask, 1).sum()) == 9
    assert torch.equal(grown(grown(mask, 1), -1), mask)
    assert torch.equal(grown(mask, 0), mask)
    wide = torch.rand(2, 40, 30, generator=torch.Generator().manual_seed(0))
    for pixels in (3, 10, 64):
        expected = F.max_pool2d(wide[:, None], 2 * pixels + 1, stride=1, padding=pixels)[:, 0]
        assert torch.equal(grown(wide, pixels), expected)
