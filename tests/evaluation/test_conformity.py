import pytest
import torch

from evaluation.conformity import perceptual_input_conformity


def absolute(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().flatten(1).mean(dim=1)


def test_value_is_the_mean_over_frames():
    image = torch.zeros(3, 4, 4)
    video = torch.stack([torch.full((3, 4, 4), d) for d in (0.0, 0.1, 0.5)])
    assert perceptual_input_conformity(image, video, absolute) == pytest.approx(1 - 0.2)


def test_a_still_conforms_fully():
    image = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert perceptual_input_conformity(image, image.expand(5, -1, -1, -1), absolute) == 1.0


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"expected \[3, H, W\]"):
        perceptual_input_conformity(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4), absolute)
