"""Guidance formulas, by value."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dc_model.sampling.guidance import classifier_free, rescale_guidance, two_scale


def branches() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    cond, image_only, uncond = torch.randn(
        3, 2, 4, 3, 5, 6, generator=torch.Generator().manual_seed(0)
    )
    return cond, image_only, uncond


def test_classifier_free_extrapolates_from_uncond():
    cond, _, uncond = branches()
    assert torch.equal(classifier_free(cond, uncond, 0.0), uncond)
    assert torch.allclose(classifier_free(cond, uncond, 1.0), cond, atol=1e-6)
    assert torch.allclose(classifier_free(cond, uncond, 7.5), 7.5 * cond - 6.5 * uncond, atol=1e-5)


def test_two_scales_weigh_text_and_image_apart():
    cond, image_only, uncond = branches()
    found = two_scale(cond, image_only, uncond, 7.5, 2.0)
    expected = 7.5 * cond + (2.0 - 7.5) * image_only + (1.0 - 2.0) * uncond
    assert torch.allclose(found, expected, atol=1e-5)


def test_equal_scales_cancel_the_image_only_branch():
    cond, image_only, uncond = branches()
    found = two_scale(cond, image_only, uncond, 3.0, 3.0)
    assert torch.allclose(found, classifier_free(cond, uncond, 3.0), atol=1e-5)


@pytest.mark.parametrize("phi", ["0.3", "0.7"])
def test_rescale_equals_the_published_values(phi, golden: Path):
    data = load_file(golden / "modules" / "schedule.safetensors")
    found = rescale_guidance(data["rescale.cfg"], data["rescale.cond"], float(phi))
    assert (found - data[f"rescale.out_{phi}"]).abs().max() < 1e-6


def test_rescale_takes_one_spread_per_video():
    cond, guided, _ = branches()
    alone = rescale_guidance(guided[:1], cond[:1], 0.7)
    assert torch.allclose(rescale_guidance(guided, cond, 0.7)[:1], alone, atol=1e-6)
    restored = rescale_guidance(guided * 3, cond, 1.0)
    axes = (1, 2, 3, 4)
    assert torch.allclose(restored.std(dim=axes), cond.std(dim=axes), rtol=1e-5)
    assert torch.equal(rescale_guidance(guided, cond, 0.0), guided)


def test_rescale_of_a_constant_prediction_is_finite():
    cond, _, _ = branches()
    assert torch.equal(rescale_guidance(torch.zeros_like(cond), cond, 0.7), torch.zeros_like(cond))
