"""Colour matching: what the matched frames have in common with the reference."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dc_model.video.color_match import match_colors

METHODS: list[Any] = ["mean_std", "covariance", "histogram"]


def noise_image(seed: int, *, frames: int = 1, size: int = 24) -> Tensor:
    """Correlated channels within [0.2, 0.8], which no method has to clamp."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.rand(3, 3, generator=generator)
    mix = mix / mix.sum(dim=1, keepdim=True)
    values = torch.rand(frames, size, size, 3, generator=generator) @ mix.T
    return values * 0.4 + 0.3


def drifted(reference: Tensor, frames: int) -> Tensor:
    """A reference that gets darker and flatter frame by frame."""
    gains = torch.linspace(1.0, 0.7, frames)[:, None, None, None]
    return reference * gains + torch.tensor([0.0, 0.02, 0.05])


@pytest.mark.parametrize("method", METHODS)
def test_a_drifted_video_comes_back_to_its_reference(method: Any) -> None:
    reference = noise_image(1)
    matched = match_colors(drifted(reference, 4), reference, method, "each_frame", 1.0)
    torch.testing.assert_close(matched, reference.expand(4, -1, -1, -1), atol=2e-3, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_statistics_become_those_of_another_picture(method: Any) -> None:
    frames, reference = noise_image(2, frames=2), noise_image(3, size=32)
    matched = match_colors(frames, reference, method, "each_frame", 1.0)
    target = reference.reshape(-1, 3)
    for frame in matched:
        pixels = frame.reshape(-1, 3)
        torch.testing.assert_close(pixels.mean(dim=0), target.mean(dim=0), atol=2e-3, rtol=0)
        torch.testing.assert_close(pixels.std(dim=0), target.std(dim=0), atol=2e-3, rtol=0)
        if method == "covariance":
            torch.testing.assert_close(
                torch.cov(pixels.T), torch.cov(target.T), atol=1e-5, rtol=1e-3
            )
        if method == "histogram":
            at = torch.linspace(0.05, 0.95, 7)
            torch.testing.assert_close(
                pixels.quantile(at, dim=0), target.quantile(at, dim=0), atol=5e-3, rtol=0
            )


@pytest.mark.parametrize("method", METHODS)
def test_the_first_frames_move_keeps_changes_of_light(method: Any) -> None:
    reference = noise_image(4)
    frames = torch.cat([reference * 0.8, reference * 0.6])
    matched = match_colors(frames, reference, method, "first_frame", 1.0)
    torch.testing.assert_close(matched[:1], reference, atol=2e-3, rtol=0)
    assert float(matched[1].mean()) < float(matched[0].mean()) - 0.05


@pytest.mark.parametrize("method", METHODS)
def test_strength_blends(method: Any) -> None:
    frames, reference = noise_image(5), noise_image(6)
    none, half, full = (
        match_colors(frames, reference, method, "each_frame", s) for s in (0.0, 0.5, 1.0)
    )
    torch.testing.assert_close(none, frames)
    torch.testing.assert_close(half, (frames + full) / 2)


@pytest.mark.parametrize("method", METHODS)
def test_flat_frames_stay_finite(method: Any) -> None:
    flat = torch.full((1, 4, 4, 3), 0.25)
    for pair in ((flat, noise_image(7)), (noise_image(7), flat), (flat, flat)):
        assert bool(match_colors(*pair, method, "each_frame", 1.0).isfinite().all())


@pytest.mark.parametrize("method", METHODS)
def test_a_single_pixel_is_a_flat_picture(method: Any) -> None:
    pixel = torch.tensor([0.2, 0.5, 0.7]).view(1, 1, 1, 3)
    frames = noise_image(12, frames=2)
    matched = match_colors(frames, pixel, method, "each_frame", 1.0)
    torch.testing.assert_close(matched, pixel.expand_as(frames), atol=1e-5, rtol=0)
    matched = match_colors(pixel, noise_image(13), method, "each_frame", 1.0)
    assert bool(matched.isfinite().all())


def test_inputs_stay_and_results_are_within_range() -> None:
    frames, reference = noise_image(8), noise_image(9) ** 4
    before = frames.clone()
    matched = match_colors(frames, reference, "mean_std", "each_frame", 1.0)
    assert torch.equal(frames, before)
    assert float(matched.min()) >= 0 and float(matched.max()) <= 1


@pytest.mark.parametrize("method", METHODS)
def test_a_video_that_begins_black_keeps_its_picture(method: Any) -> None:
    """What its first frame does not show is moved with it: no contrast is made of its grain."""
    generator = torch.Generator().manual_seed(14)
    black = torch.rand(1, 24, 24, 3, generator=generator) * 1e-3
    frames = torch.cat([black, noise_image(15, frames=2) - 0.3])
    matched = match_colors(frames, noise_image(16) - 0.2, method, "first_frame", 1.0)
    for frame, result in zip(frames[1:], matched[1:], strict=True):
        moved = result - frame
        assert float(moved.std(dim=(0, 1)).max()) < 1e-3


def test_colours_that_the_first_frame_lacks_are_kept() -> None:
    """It is grey, so it says nothing of the others' colours."""
    grey = noise_image(17)[..., :1].expand(-1, -1, -1, 3)
    frames = torch.cat([grey, noise_image(18)])
    matched = match_colors(frames, grey, "covariance", "first_frame", 1.0)
    torch.testing.assert_close(matched, frames, atol=1e-4, rtol=0)


def test_a_reference_with_more_pixels_than_float32_counts() -> None:
    """16 777 216 and 4, whose last place float32 rounds up."""
    reference = torch.zeros(1, 4, 2**22 + 1, 3)
    matched = match_colors(noise_image(20), reference, "histogram", "each_frame", 1.0)
    assert not bool(matched.any())


def test_strength_0_keeps_what_is_brighter_than_white() -> None:
    frames = noise_image(21) * 3
    assert torch.equal(match_colors(frames, frames, "mean_std", "each_frame", 0.0), frames)


def test_one_reference_per_frame() -> None:
    references = torch.cat([noise_image(10), noise_image(11)])
    frames = references * 0.7
    matched = match_colors(frames, references, "mean_std", "each_frame", 1.0)
    torch.testing.assert_close(matched, references, atol=1e-4, rtol=0)


def test_wrong_counts_and_methods_are_explained() -> None:
    with pytest.raises(ValueError, match="2 reference images came with 3 frames"):
        match_colors(
            noise_image(1, frames=3), noise_image(1, frames=2), "mean_std", "each_frame", 1
        )
    method: Any = "lab"
    with pytest.raises(ValueError, match="mean_std, covariance, histogram"):
        match_colors(noise_image(1), noise_image(1), method, "each_frame", 1)


def test_a_callback_can_end_the_work() -> None:
    frames = noise_image(1, frames=3)
    seen: list[int] = []

    def stop_at_the_second() -> None:
        seen.append(len(seen))
        if len(seen) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        match_colors(frames, frames[:1], "mean_std", "each_frame", 1.0, stop_at_the_second)
    assert seen == [0, 1]
