"""Sketch Control: which frame each sketch is for."""

import pytest
from fakes import conditioning
from pack.nodes.checks import InputError
from pack.nodes.host import keys
from pack.nodes.sketch import parse_frames, video_length


@pytest.mark.parametrize(
    ("text", "sketches", "expected"),
    [("", 5, [0, 1, 2, 3, 4]), ("0, 3,-1", 3, [0, 3, 4]), (" 2 ", 1, [2])],
)
def test_frames_by_number(text: str, sketches: int, expected: list[int]) -> None:
    assert list(parse_frames(text, sketches, 5)) == expected


@pytest.mark.parametrize(
    ("text", "sketches", "message"),
    [
        ("", 3, "3 sketches for 5 frames"),
        ("0, 1", 3, "frames is '0, 1'"),
        ("0, x", 2, "frames is '0, x'"),
        ("5", 1, "frames is '5'"),
        ("4, -1", 2, "frames is '4, -1'"),
    ],
)
def test_other_frames_are_refused(text: str, sketches: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_frames(text, sketches, 5)


def test_the_length_is_the_conditionings() -> None:
    assert video_length([*conditioning(), *conditioning(**{keys.NUM_FRAMES: 7})]) == 7
    with pytest.raises(InputError, match="does not know the video's length"):
        video_length(conditioning())
