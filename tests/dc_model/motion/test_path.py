"""Paths: points as people write them, and masks of each frame."""

import pytest
import torch

from dc_model.motion.path import middle, path_of_masks, read_path

START = (10.0, 20.0, 1.0, 0.0)


@pytest.mark.parametrize("text", ["", "  \n ; \n"])
def test_no_points_stay_where_they_are(text: str) -> None:
    assert read_path(text, START, 3).tolist() == [list(START)] * 3


@pytest.mark.parametrize("text", ["30, 60", " 30,60 ;", "4: 30, 60", "-1: 30, 60", "30, 60, 1, 0"])
def test_one_point_is_reached_on_the_last_frame(text: str) -> None:
    found = read_path(text, START, 5)
    assert found[:, 0].tolist() == [10, 15, 20, 25, 30]
    assert found[:, 1].tolist() == [20, 30, 40, 50, 60]
    assert found[:, 2:].tolist() == [[1, 0]] * 5


def test_points_without_frames_are_spread_evenly() -> None:
    found = read_path("20, 20\n20, 40", START, 5)
    assert found[:, 0].tolist() == [10, 15, 20, 20, 20]
    assert found[:, 1].tolist() == [20, 20, 20, 30, 40]


def test_more_points_than_frames_are_a_finer_line() -> None:
    """Frame 0 stays the picture; no point is passed over."""
    found = read_path(";".join(f"{10 + i}, {20 + (i % 2)}" for i in range(1, 13)), START, 4)
    assert found[:, 0].tolist() == [10, 14, 18, 22]
    assert read_path("20, 20; 30, 20; 40, 20", START, 3)[:, 0].tolist() == [10, 25, 40]


def test_points_may_be_typed_as_elsewhere() -> None:
    wide = read_path("2\uff1a \uff13\uff10\uff0c60\uff1b4:\uff11,2", START, 5)
    assert torch.equal(wide, read_path("2: 30, 60; 4: 1, 2", START, 5))
    assert read_path("٣٠, ٦٠", START, 2)[1, :2].tolist() == [30, 60]


def test_frames_are_kept_and_the_last_point_stays() -> None:
    found = read_path("3: 0, 0, 2, 90; 1: 4, 4", START, 5)
    assert found.tolist() == [
        [10, 20, 1, 0],
        [4, 4, 1, 0],
        [2, 2, 1.5, 45],
        [0, 0, 2, 90],
        [0, 0, 2, 90],
    ]


def test_a_path_may_say_where_it_starts() -> None:
    assert read_path("0: 1, 2; 1: 3, 4", START, 2)[:, :2].tolist() == [[1, 2], [3, 4]]


def test_a_video_of_one_frame_ends_where_the_path_does() -> None:
    assert read_path("30, 60", START, 1)[0, :2].tolist() == [30, 60]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a, b", "a point 'a, b'; write it as two to 4 numbers"),
        ("5", "a point '5'"),
        ("1, 2, 3, 4, 5", "a point '1, 2, 3, 4, 5'"),
        ("nan, 1", "a point 'nan, 1'"),
        ("1e9, 1", "a point '1e9, 1'"),
        ("x: 1, 2", "a point 'x: 1, 2'"),
        ("9" * 999 + ": 1, 2", r"a point '9{120}\.\.\.'"),
        ("1.5: 1, 2", "a point '1.5: 1, 2'"),
        ("1,\x1b2", r"a point '1,\\x1b2'"),
        ("1_0, 2", "a point '1_0, 2'"),
        ("3: 1, 2; 3: 5, 6", "The path's frames 3 and 3 are both frame 3; keep one"),
        ("4: 1, 2; -1: 5, 6", "The path's frames 4 and -1 are both frame 4; keep one"),
        ("9: 1, 2", "The path's frame 9 is outside the video"),
        ("0: 1, 2; 3, 4", "1 of the path's 2 points have a frame"),
        ("1, 1;" * 1025, "has 1025 points; write at most 1024"),
    ],
)
def test_paths_that_cannot_be_read_are_refused(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        read_path(text, START, 5)


def box(x: int, y: int, side: int) -> torch.Tensor:
    mask = torch.zeros(20, 30)
    mask[y : y + side, x : x + side] = 1
    return mask


def test_the_middle_is_that_of_the_area() -> None:
    assert middle(box(4, 6, 2)) == (5, 7)
    with pytest.raises(ValueError, match="The mask is empty"):
        middle(torch.zeros(3, 3))


def test_a_mask_for_each_frame_is_a_path() -> None:
    masks = torch.stack([box(4, 6, 2), torch.zeros(20, 30), box(12, 10, 4)])
    found = path_of_masks(masks, 3)
    assert found.tolist() == [[5, 7, 1, 0], [9.5, 9.5, 1.5, 0], [14, 12, 2, 0]]
    assert path_of_masks(masks[:1], 3).tolist() == [[5, 7, 1, 0]] * 3
    assert torch.equal(path_of_masks(masks, 5)[2], found[1])


def test_more_masks_than_frames_begin_with_the_first_one() -> None:
    found = path_of_masks(torch.stack([box(i, 6, 2) for i in range(21)]), 3)
    assert found.tolist() == [[1, 7, 1, 0], [11, 7, 1, 0], [21, 7, 1, 0]]


@pytest.mark.parametrize("white", [0.0, 0.01])
def test_masks_that_show_nothing_are_refused(white: float) -> None:
    """Nothing of such a mask would move."""
    with pytest.raises(ValueError, match="All masks of the path are empty"):
        path_of_masks(torch.full((2, 3, 3), white), 4)
    with pytest.raises(ValueError, match="The mask is empty at the video's size; paint it"):
        middle(torch.full((3, 3), white))
