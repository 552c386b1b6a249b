"""Analytic-Init Noise: it fits itself to the latent."""

from typing import Any

import pytest
import torch
from pack.dc_model.sampling.analytic_init import AnalyticInit
from pack.nodes.analytic_init import AnalyticNoise
from pack.nodes.checks import InputError

NOISE = AnalyticNoise(0, AnalyticInit(torch.ones(1, 4, 2, 4, 4, dtype=torch.float64), 0.8), 0.5)


def latent(channels: int) -> Any:
    return {"samples": torch.zeros(6, channels, 8, 8), "num_frames": 3}


def test_statistics_of_another_size_and_type_give_noise_of_the_latent_s() -> None:
    noise = NOISE.generate_noise(latent(4))
    assert noise.shape == (6, 4, 8, 8)
    assert noise.dtype == torch.float32
    assert float(noise.mean()) == pytest.approx(0.5**0.5, abs=0.1)


def test_a_latent_of_another_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \[6, 16, 8, 8\]; expected \[frames, 4"):
        NOISE.generate_noise(latent(16))
