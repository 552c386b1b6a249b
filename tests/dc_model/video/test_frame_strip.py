import pytest
import torch

from dc_model.video.frame_strip import GAP, frame_strip


def numbered(count: int, frames: int, height: int = 16, width: int = 24) -> torch.Tensor:
    """Video n, frame t is a plain grey of `(10 n + t) / 100`."""
    levels = torch.arange(count)[:, None] * 0.1 + torch.arange(frames) * 0.01
    return levels[..., None, None, None].expand(-1, -1, 3, height, width).clone()


def test_frames_are_evenly_chosen_from_first_to_last():
    strip = frame_strip(numbered(2, 16), columns=4, height=16)
    assert strip.shape == (3, 2 * 16 + GAP, 4 * 24)
    for row, top in ((0, 0), (1, 16 + GAP)):
        levels = strip[0, top + 8, 12::24]
        expected = [row * 0.1 + t * 0.01 for t in (0, 5, 10, 15)]
        assert levels.tolist() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(strip[:, 16 : 16 + GAP], torch.ones(3, GAP, 4 * 24))


def test_frames_keep_their_proportions_in_the_height_asked_for():
    assert frame_strip(numbered(1, 3), columns=8, height=32).shape == (3, 32, 3 * 48)


def test_labels_stand_at_their_rows_and_change_no_frame():
    videos = numbered(3, 2, 64, 64)
    plain = frame_strip(videos, 2, 64)
    strip = frame_strip(videos, 2, 64, ["first", "", "x" * 500])
    margin = strip.shape[-1] - plain.shape[-1]
    assert torch.equal(strip[..., margin:], plain)
    assert 100 < margin < 600
    dark = (strip[..., :margin].amin(dim=(0, 2)) < 0.5).nonzero().flatten().tolist()
    rows = {place // (64 + GAP) for place in dark}
    assert rows == {0, 2}
    assert torch.equal(frame_strip(videos, 2, 64, [" ", ""]), plain)


def test_a_strip_beyond_the_memory_is_refused():
    thin = torch.zeros(1, 1, 3, 1, 600).expand(1, 64, 3, 1, 600)
    with pytest.raises(
        ValueError, match="have 39321600 x 1024 pixels, more than 64 million; choose"
    ):
        frame_strip(thin, 64, 1024)


def test_more_labels_than_videos_are_refused():
    with pytest.raises(ValueError, match="2 labels came with 1 videos"):
        frame_strip(numbered(1, 2), 2, 16, ["a", "b"])
