"""Joining videos that share frames."""

import pytest
import torch
from torch import Tensor

from dc_model.video.join import crossfade_weights, join


def video(*values: float) -> Tensor:
    """Frames `[T, 2, 2, 3]` of one value each."""
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, 2, 2, 3)


def levels(frames: Tensor) -> list[float]:
    return [round(float(f.mean()), 6) for f in frames]


def test_shared_frames_appear_once() -> None:
    joined = join(video(0, 1, 2, 3), video(2, 3, 4, 5), overlap=2)
    assert levels(joined) == [0, 1, 2, 3, 4, 5]


def test_shared_frames_fade_from_the_first_to_the_second() -> None:
    joined = join(video(0, 0, 0), video(1, 1, 1), overlap=2)
    assert levels(joined) == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_no_overlap_is_a_cut() -> None:
    assert levels(join(video(0, 1), video(5), overlap=0)) == [0, 1, 5]


def test_weights_rise_between_nothing_and_all() -> None:
    weights = crossfade_weights(3)
    torch.testing.assert_close(weights, torch.tensor([0.25, 0.5, 0.75]))


@pytest.mark.parametrize("overlap", [-1, 3])
def test_an_overlap_that_a_video_lacks_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap of 0 to 2"):
        join(video(0, 1, 2), video(1, 2), overlap)


def test_unlike_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="same size"):
        join(video(0), torch.zeros(1, 4, 2, 3), 0)
