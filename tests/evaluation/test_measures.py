"""Measures of a clip by value."""

import math

import pytest
import torch
from torch import Tensor

pytest.importorskip("av")

from evaluation.measures import flicker, motion, open_measures, psnr
from evaluation.protocol import DataSet, Protocol


def moving_pattern(step: int, frames: int = 6, size: int = 64) -> Tensor:
    """Smooth noise that moves `step` pixels to the right each frame: `[T, 3, H, W]` in [0, 1]."""
    noise = torch.rand(1, 1, size // 4, size, generator=torch.Generator().manual_seed(0))
    wide = torch.nn.functional.interpolate(noise, (size, 4 * size), mode="bicubic").clamp(0, 1)[0]
    return torch.stack(
        [wide[..., size - step * t :][..., :size].expand(3, -1, -1) for t in range(frames)]
    )


def test_motion_is_the_speed_of_what_moves():
    pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    assert motion(moving_pattern(0)) == pytest.approx(0, abs=0.05)
    for step in (1, 2, 4):
        found = motion(moving_pattern(step))
        assert found == pytest.approx(step / 64 * 100, rel=0.25)


def test_flicker_is_what_steps_out_of_the_line():
    levels = torch.tensor([0.2, 0.4, 0.2, 0.4, 0.2]).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    assert flicker(levels) == pytest.approx(0.2 * 255, rel=1e-5)
    ramp = torch.linspace(0.1, 0.9, 5).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    assert flicker(ramp) == pytest.approx(0, abs=1e-4)


def test_first_frame_in_decibels():
    image = torch.full((3, 8, 8), 0.5)
    assert psnr(image, image + 0.1) == pytest.approx(20, abs=0.01)
    assert psnr(image, image) == pytest.approx(10 * math.log10(12 * 255**2), abs=1e-6)


def test_what_cannot_be_measured_is_named(monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "dreamsim", None)
    found, missing = open_measures(Protocol(data=DataSet(kind="table", path="clips.csv")), "cpu")
    assert list(found) == ["first_frame", "flicker"]
    assert "pip install opencv-python-headless" in missing["Motion"]
    assert "pip install dreamsim" in missing["PIC"]
