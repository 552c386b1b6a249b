"""Drag: a rendered object follows its path, and the ground is whole where it was."""

import pytest
import torch
from torch import Tensor

from dc_model.motion.drag import drag

SIZE, RED = 48, torch.tensor([1.0, 0.0, 0.0])


def ramp() -> Tensor:
    """A ground `[3, 48, 48]` that brightens to the right."""
    return torch.linspace(0.2, 0.6, SIZE).expand(3, SIZE, SIZE).clone()


def bar(x: float, y: float, wide: float, high: float) -> Tensor:
    """Coverage `[48, 48]` of a box around a middle."""
    at = torch.arange(SIZE) + 0.5
    across = (wide / 2 + 0.5 - (at - x).abs()).clamp(0, 1)
    down = (high / 2 + 0.5 - (at - y).abs()).clamp(0, 1)
    return down[:, None] * across


def painted(mask: Tensor) -> Tensor:
    return torch.lerp(ramp(), RED[:, None, None], mask)


def poses(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows)


def test_the_cut_out_goes_along_the_path_over_a_whole_ground() -> None:
    mask = bar(14, 24, 10, 6)
    video, masks = drag(painted(mask), mask, poses((14, 24, 1, 0), (30, 20, 1, 0)))
    torch.testing.assert_close(video[0], painted(mask))
    torch.testing.assert_close(masks[0], mask)
    torch.testing.assert_close(masks[1], bar(30, 20, 10, 6), atol=1e-4, rtol=0)
    torch.testing.assert_close(video[1], painted(bar(30, 20, 10, 6)), atol=0.06, rtol=0)


def test_it_turns_clockwise_and_grows() -> None:
    """A quarter turn stands the bar up; a mark on its right end points down."""
    mask = bar(24, 24, 12, 6)
    picture = painted(mask)
    picture[:, 22:26, 27:29] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    video, masks = drag(picture, mask, poses((24, 24, 1, 90), (24, 24, 2, 0)))
    torch.testing.assert_close(masks[0], bar(24, 24, 6, 12), atol=0.02, rtol=0)
    assert video[0, 2, 27:29, 22:26].min() > 0.9
    assert float(masks[1].sum()) == pytest.approx(4 * float(mask.sum()), rel=0.1)


def test_what_leaves_the_picture_is_gone() -> None:
    mask = bar(24, 24, 8, 8)
    video, masks = drag(painted(mask), mask, poses((200, 24, 1, 0)))
    assert float(masks.sum()) == 0
    torch.testing.assert_close(video[0], ramp(), atol=0.06, rtol=0)


def test_inputs_are_left_as_they_are() -> None:
    mask = bar(24, 24, 8, 8)
    picture, kept = painted(mask), painted(mask)
    drag(picture, mask, poses((30, 24, 1, 0)))
    assert torch.equal(picture, kept)


@pytest.mark.parametrize(
    ("mask", "scale", "found"),
    [
        (torch.zeros(SIZE, SIZE), 1.0, "The mask is empty"),
        (torch.ones(SIZE, SIZE), 1.0, "choose a smaller mask"),
        (bar(24, 24, 8, 8), 0.0, "scales by 0 to 0; choose 0.05 to 20"),
        (bar(24, 24, 8, 8), 21.0, "scales by 21 to 21"),
    ],
)
def test_what_cannot_be_dragged_is_refused(mask: Tensor, scale: float, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        drag(ramp(), mask, poses((9, 9, scale, 0)))


def test_each_frame_can_be_stopped() -> None:
    seen: list[int] = []
    mask = bar(24, 24, 8, 8)
    drag(painted(mask), mask, poses((24, 24, 1, 0), (25, 24, 1, 0)), lambda: seen.append(1))
    assert len(seen) == 2
