"""Frames to videos, and progress over what a metric computes."""

import pytest
import torch
from pack.nodes.checks import InputError
from pack.nodes.metrics import to_videos


def test_frames_become_videos_within_range() -> None:
    images = torch.arange(6.0)[:, None, None, None].expand(-1, 4, 5, 3) / 4 - 0.25
    videos = to_videos(images, 3, "images")
    assert videos.shape == (2, 3, 3, 4, 5)
    assert videos[:, :, 0, 0, 0].tolist() == [[0, 0, 0.25], [0.5, 0.75, 1]]


def test_frames_left_over_are_refused() -> None:
    with pytest.raises(InputError, match="real_images has 7 images"):
        to_videos(torch.zeros(7, 4, 4, 3), 3, "real_images")
