"""PIC: which image each video is held against, and which counts are refused."""

import pytest
import torch
from pack.nodes.checks import InputError
from pack.nodes.pic import InputConformity, choose_distance, frames_of_each


def grey(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, 8, 8, 3)


@pytest.mark.parametrize(
    ("image", "expected"),
    [((0.5,), 1 - (0.1 + 0.2 + 0.3 + 0.5) / 4), ((0.5, 1.0), 1 - (0.1 + 0.2 + 0.2 + 0) / 4)],
)
def test_each_frame_against_its_videos_image(image: tuple[float, ...], expected: float) -> None:
    frames = grey(0.6, 0.7, 0.8, 1.0)
    num_frames = 4 // len(image)
    value, report = InputConformity.execute(frames, grey(*image), "pixels", num_frames, "crop").args
    assert value == pytest.approx(expected, abs=1e-6)
    assert "absolute difference" in report


def test_frames_of_each_video() -> None:
    assert frames_of_each(grey(*[0.0] * 6), grey(0, 0)) == 3
    with pytest.raises(InputError, match="6 frames, which do not divide among 4 input images"):
        frames_of_each(grey(*[0.0] * 6), grey(0, 0, 0, 0))


@pytest.mark.parametrize(
    ("num_frames", "message"),
    [
        (0, "images has 12 frames, which do not divide among 5 input images"),
        (4, "5 input images came with 3 videos; connect 1, or one for each"),
        (7, "not a whole number of clips of 7 frames"),
    ],
)
def test_images_and_videos_are_as_many(num_frames: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        InputConformity.execute(grey(*[0] * 12), grey(*[0] * 5), "pixels", num_frames, "crop")


def test_a_missing_encoder_is_asked_for() -> None:
    with pytest.raises(InputError, match="got no CLIP_VISION"):
        choose_distance("clip_vision", None)
