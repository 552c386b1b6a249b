import math

import numpy as np
import pytest
import torch

from training.conditioning import (
    choose_mode,
    cil_noise_scale,
    concat_latents,
    condition_frame,
    dropped,
    palindrome,
)


@pytest.mark.parametrize(
    ("r", "text", "image"),
    [
        (0.0, True, False),
        (0.049, True, False),
        (0.05, True, True),
        (0.099, True, True),
        (0.1, False, True),
        (0.149, False, True),
        (0.151, False, False),
        (0.999, False, False),
    ],
)
def test_dropping_rule_at_its_bounds(r: float, text: bool, image: bool):
    drop = dropped(r, 0.05)
    assert (drop.text, drop.image) == (text, image)


def test_dropping_rates_are_five_percent_each():
    grid = (np.arange(100_000) + 0.5) / 100_000
    drops = [dropped(r, 0.05) for r in grid]
    assert np.mean([d.text and not d.image for d in drops]) == pytest.approx(0.05, abs=1e-4)
    assert np.mean([d.image and not d.text for d in drops]) == pytest.approx(0.05, abs=1e-4)
    assert np.mean([d.text and d.image for d in drops]) == pytest.approx(0.05, abs=1e-4)


def clip() -> torch.Tensor:
    return torch.arange(5.0).view(1, 5, 1, 1).expand(4, 5, 2, 2)


def frames(latents: torch.Tensor | None) -> list[float]:
    assert latents is not None
    return latents[0, :, 0, 0].tolist()


def test_concat_latents_by_mode():
    assert frames(concat_latents(clip(), "first", 0)) == [0, 0, 0, 0, 0]
    assert frames(concat_latents(clip() + 1, "random", 3)) == [4, 4, 4, 4, 4]
    assert frames(concat_latents(clip() + 1, "interpolate", 0)) == [1, 0, 0, 0, 5]
    assert frames(concat_latents(clip() + 1, "loop", 0)) == [1, 0, 0, 0, 1]
    assert concat_latents(clip(), "none", 0) is None


def test_condition_frame_is_uniform_only_for_random():
    generator = torch.Generator().manual_seed(0)
    drawn = [condition_frame("random", 16, generator) for _ in range(3200)]
    counts = np.bincount(drawn, minlength=16)
    assert len(counts) == 16 and counts.min() > 140
    assert {condition_frame("interpolate", 16, generator) for _ in range(20)} == {0}


def test_modes_are_drawn_by_weight():
    generator = torch.Generator().manual_seed(1)
    drawn = [choose_mode({"first": 3.0, "loop": 1.0}, generator) for _ in range(4000)]
    assert np.mean([d == "loop" for d in drawn]) == pytest.approx(0.25, abs=0.03)
    with pytest.raises(ValueError, match="no positive weight"):
        choose_mode({"first": 0.0}, generator)


def test_a_palindrome_returns():
    assert frames(palindrome(clip())) == [0, 2, 4, 2, 0]
    even = palindrome(torch.arange(4.0).view(1, 4, 1, 1))
    assert frames(even) == [0, 3, 3, 0]


@pytest.mark.parametrize("t", [0, 500, 999])
def test_cil_noise_has_the_published_distribution(t: int):
    generator = torch.Generator().manual_seed(2)
    drawn = np.array([cil_noise_scale(t, generator) for _ in range(3000)]) / 100
    logits = np.log(drawn / (1 - drawn))
    assert logits.mean() == pytest.approx(2 * (t / 1000) ** 5 - 1, abs=4 / math.sqrt(3000))
    assert logits.std() == pytest.approx(1, abs=0.06)
