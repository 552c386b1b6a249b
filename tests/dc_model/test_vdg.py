"""Where each mode of visual detail guidance puts the image latents."""

import pytest
import torch

from dc_model.frames import fold_frames, unfold_frames
from dc_model.vdg import animate, interpolate, join, keyframes, loop, per_frame


def latents(count: int) -> torch.Tensor:
    return torch.randn(count, 4, 3, 5, generator=torch.Generator().manual_seed(count))


def test_animate_repeats_the_image():
    first = latents(2)
    video = animate(first, 16)
    assert video.shape == (2, 4, 16, 3, 5)
    for frame in range(16):
        assert torch.equal(video[:, :, frame], first)


def test_interpolate_fills_the_ends_and_leaves_zeros():
    first, last = latents(2), latents(2) + 1
    video = interpolate(first, last, 16)
    assert torch.equal(video[:, :, 0], first)
    assert torch.equal(video[:, :, -1], last)
    assert video[:, :, 1:-1].abs().max() == 0
    assert torch.equal(interpolate(first, last, 1)[:, :, 0], first)


def test_loop_has_the_same_image_at_both_ends():
    first = latents(1)
    assert torch.equal(loop(first, 8), interpolate(first, first, 8))


def test_interpolate_refuses_two_sizes():
    with pytest.raises(ValueError, match=r"\[1, 4, 3, 5\].*\[1, 4, 6, 5\]"):
        interpolate(latents(1), torch.zeros(1, 4, 6, 5), 16)


def test_keyframes_sit_at_their_index_and_zeros_elsewhere():
    images = latents(3)
    video = keyframes(images, [0, -1, 5], 12)
    assert video.shape == (1, 4, 12, 3, 5)
    for image, frame in enumerate((0, 11, 5)):
        assert torch.equal(video[0, :, frame], images[image])
    rest = [f for f in range(12) if f not in (0, 5, 11)]
    assert video[:, :, rest].abs().max() == 0


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([0, 16], "Keyframe 16 is outside the video; with 16 frames choose -16 to 15"),
        ([0, -17], "Keyframe -17 is outside"),
        ([15, -1], "Keyframes 15 and -1 are both frame 15"),
        ([0], "2 keyframe images came with 1 frame numbers"),
    ],
)
def test_wrong_keyframes_are_named(frames, message):
    with pytest.raises(ValueError, match=message):
        keyframes(latents(2), frames, 16)


def test_per_frame_takes_one_image_per_frame():
    images = latents(6)
    video = per_frame(images)
    assert video.shape == (1, 4, 6, 3, 5)
    assert torch.equal(video[0, :, 4], images[4])
    two = per_frame(images, 3)
    assert two.shape == (2, 4, 3, 3, 5)
    assert torch.equal(two[1, :, 0], images[3])


def test_folding_is_frame_fastest_and_undone_by_unfolding():
    video = torch.randn(2, 4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    folded = fold_frames(video)
    assert folded.shape == (6, 4, 5, 6)
    assert torch.equal(folded[4], video[1, :, 1])
    assert torch.equal(unfold_frames(folded, 3), video)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\[B, C, T, H, W\]; found \[6, 4, 5, 6\]"):
        fold_frames(torch.zeros(6, 4, 5, 6))
    with pytest.raises(ValueError, match=r"shape \[7, 4, 5, 6\]; videos of 3 frames"):
        unfold_frames(torch.zeros(7, 4, 5, 6), 3)
    with pytest.raises(ValueError, match="length is 0 frames"):
        animate(latents(1), 0)
    with pytest.raises(ValueError, match=r"shape \[0, 4, 3, 5\]"):
        per_frame(torch.zeros(0, 4, 3, 5), 3)


def test_inputs_are_not_changed():
    first, last = latents(1), latents(1) + 1
    copies = first.clone(), last.clone()
    animate(first, 4).add_(1)
    interpolate(first, last, 4).add_(1)
    keyframes(first, [2], 4).add_(1)
    assert torch.equal(first, copies[0])
    assert torch.equal(last, copies[1])


def test_the_network_sees_noise_first_then_the_images():
    noisy, video = torch.full((2, 4, 3, 1, 1), 7.0), torch.full((2, 4, 3, 1, 1), 5.0)
    joined = join(noisy, video)
    assert joined.shape == (2, 8, 3, 1, 1)
    assert (joined[:, :4] == 7).all()
    assert (joined[:, 4:] == 5).all()
    assert (join(noisy, None)[:, 4:] == 0).all()
