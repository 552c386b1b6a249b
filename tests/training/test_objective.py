import numpy as np
import pytest
import torch

from dc_model.sampling.schedule import schedule_of
from dc_model.variants import VARIANTS
from training.objective import add_noise, draw_timestep, sample_losses


def published(variant: str) -> tuple[np.ndarray, np.ndarray]:
    """alpha-bar and scale by the formulas of docs/method.md#noise-schedules."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    bar = np.cumprod(1 - betas)
    scale = np.ones(1000)
    if variant != "256":
        s = np.sqrt(bar)
        bar = ((s - s[-1]) * s[0] / (s[0] - s[-1])) ** 2
        base = {"512": 0.7, "1024": 0.3}[variant]
        scale = np.concatenate([np.linspace(1, base, 400), np.full(600, base)])
    return bar, scale


@pytest.mark.parametrize("variant", ["256", "512", "1024"])
@pytest.mark.parametrize("t", [0, 17, 399, 400, 998, 999])
def test_noisy_latent_and_target_by_value(variant: str, t: int):
    bar, scale = published(variant)
    clean, noise = torch.full((1, 1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1, 1), 0.5)
    noisy, target = add_noise(schedule_of(VARIANTS[variant]), clean, noise, torch.tensor([t]))
    x0, a = 2.0 * scale[t], bar[t]
    expected = np.sqrt(a) * x0 + np.sqrt(1 - a) * 0.5
    v = np.sqrt(a) * 0.5 - np.sqrt(1 - a) * x0
    assert float(noisy) == pytest.approx(expected, abs=2e-6)
    assert float(target) == pytest.approx(0.5 if variant == "256" else v, abs=2e-6)


def test_zero_terminal_snr_leaves_pure_noise():
    clean, noise = torch.ones(1, 4, 2, 2, 2), torch.randn(1, 4, 2, 2, 2)
    noisy, target = add_noise(schedule_of(VARIANTS["512"]), clean, noise, torch.tensor([999]))
    assert torch.equal(noisy, noise)
    torch.testing.assert_close(target, torch.full_like(target, -0.7))


def test_timesteps_cover_the_range():
    generator = torch.Generator().manual_seed(0)
    uniform = np.array([draw_timestep("uniform", generator) for _ in range(4000)])
    late = np.array([draw_timestep("late", generator) for _ in range(4000)])
    assert uniform.min() >= 0 and uniform.max() <= 999
    assert uniform.mean() == pytest.approx(499.5, abs=15)
    assert np.median(late) == pytest.approx(750, abs=15)


def test_loss_is_per_video():
    losses = sample_losses(
        torch.zeros(2, 1, 1, 1, 2), torch.tensor([[1.0, 3.0], [2.0, 0.0]]).view(2, 1, 1, 1, 2)
    )
    assert losses.tolist() == [5.0, 2.0]
