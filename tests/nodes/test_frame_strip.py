"""Frame Strip: which images make a row, and which labels are refused."""

import pytest
import torch
from pack.nodes.checks import InputError
from pack.nodes.frame_strip import make_strip


def test_images_are_rows_of_videos() -> None:
    images = torch.arange(6).view(6, 1, 1, 1).expand(-1, 16, 16, 3) / 10
    one = make_strip(images, 0, 8, 16, "")
    assert one.shape == (1, 16, 6 * 16, 3)
    assert one[0, 8, 8::16, 0].tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    two = make_strip(images, 3, 2, 16, "")
    assert two.shape == (1, 36, 32, 3)
    assert two[0, 28, 8::16, 0].tolist() == pytest.approx([0.3, 0.5])


def test_transparency_is_left_out() -> None:
    assert make_strip(torch.rand(2, 16, 16, 4), 0, 2, 16, "").shape == (1, 16, 32, 3)


def test_labels_are_lines_and_empty_ones_at_the_end_do_not_count() -> None:
    images = torch.zeros(4, 32, 32, 3)
    labelled = make_strip(images, 2, 2, 32, "first\nsecond\n\n")
    assert labelled.shape[2] > make_strip(images, 2, 2, 32, "\n").shape[2]
    with pytest.raises(ValueError, match="3 labels came with 2 videos; write one line"):
        make_strip(images, 2, 2, 32, "a\nb\nc")


def test_a_part_of_a_video_is_refused() -> None:
    with pytest.raises(InputError, match="images has 5 images, which are not a whole number"):
        make_strip(torch.zeros(5, 8, 8, 3), 2, 2, 16, "")
