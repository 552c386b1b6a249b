"""Frames by number: from the start, from the end, outside, twice."""

import pytest

from dc_model.frames import frame_index, frame_indices


@pytest.mark.parametrize(("given", "frame"), [(0, 0), (15, 15), (-1, 15), (-16, 0)])
def test_negative_frames_count_from_the_end(given: int, frame: int) -> None:
    assert frame_index(given, 16) == frame


@pytest.mark.parametrize("given", [16, -17, 1000])
def test_frames_outside_the_video_are_named(given: int) -> None:
    with pytest.raises(ValueError, match=f"^Sketch frame {given} is .* choose -16 to 15"):
        frame_index(given, 16, "Sketch frame")


def test_frames_keep_their_order() -> None:
    assert frame_indices([3, -1, 0], 8) == [3, 7, 0]


def test_a_frame_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="Keyframes 7 and -1 are both frame 7"):
        frame_indices([7, 2, -1], 8, "Keyframe")
