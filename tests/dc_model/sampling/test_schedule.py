"""Schedules and timestep grids equal the published ones; the two state spaces convert exactly."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from crossings import Crossings
from safetensors.torch import load_file

from dc_model.sampling.schedule import (
    NoiseSchedule,
    ddim_sigmas,
    dynamic_rescale,
    is_published_ending,
    linear_alphas_cumprod,
    timesteps,
    zero_terminal_snr,
)
from dc_model.variants import VARIANTS, Variant

MODELS = {"dc256": "256", "dc512": "512", "dc1024": "1024"}
SPACINGS = ("uniform", "uniform_trailing")


@pytest.fixture(scope="module")
def published(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "modules" / "schedule.safetensors")


@pytest.fixture(scope="module")
def facts(golden: Path) -> dict:
    return json.loads((golden / "modules" / "schedule.json").read_text(encoding="utf-8"))


def schedule_of(name: str) -> NoiseSchedule:
    v: Variant = VARIANTS[name]
    return NoiseSchedule.from_variant(
        v.zero_terminal_snr, v.base_scale, v.parameterization, v.final_scale
    )


@pytest.mark.parametrize("model", MODELS)
def test_buffers_equal_the_published_ones_bit_for_bit(model, published):
    schedule = schedule_of(MODELS[model])
    assert torch.equal(schedule.alphas_cumprod, published[f"{model}.alphas_cumprod"])
    stored = published.get(f"{model}.scale_arr", torch.ones(1400))
    assert torch.equal(schedule.scale, stored[:1000])


@pytest.mark.parametrize(("model", "base"), [("dc512", 0.7), ("dc1024", 0.3)])
def test_dynamic_rescale_equals_the_stored_table(model, base, published):
    assert torch.equal(dynamic_rescale(base).float(), published[f"{model}.scale_arr"])


def test_zero_terminal_snr_keeps_the_first_and_zeroes_the_last():
    linear = linear_alphas_cumprod()
    shifted = zero_terminal_snr(linear)
    assert shifted[-1] == 0.0
    assert shifted[0].item() == pytest.approx(linear[0].item(), abs=1e-15)


def test_grids_equal_the_published_ones(facts):
    for name, grid in facts["ddim"].items():
        spacing, steps = name.rsplit("_", 1)
        assert timesteps(int(steps), spacing).flip(0).tolist() == grid["timesteps"], name
    for steps, count in facts["uniform_actual_step_count"].items():
        # With 3 steps the published grid holds timestep 1000, outside its own table.
        assert len(timesteps(int(steps), "uniform")) == count - (steps == "3")


def test_grids_on_fewer_timesteps_equal_those_of_analytic_init(facts):
    for name, grid in facts["cil_timesteps"].items():
        start, steps = (int(part[1:]) for part in name.split("_"))
        assert timesteps(steps, "uniform_trailing", start).flip(0).tolist() == grid, name


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("start", [1000, 940, 7, 1])
def test_every_step_count_gives_a_usable_grid(spacing, start):
    for steps in range(1, 1001):
        grid = timesteps(steps, spacing, start)
        assert grid.dtype == torch.int64
        assert len(grid) >= 1
        assert grid[0] <= 999
        assert grid[-1] >= 0
        assert (grid.diff() < 0).all()


def test_step_counts_at_which_the_published_grid_breaks_keep_its_valid_entries(facts):
    for steps in facts["uniform_steps_out_of_range"]["first"]:
        assert timesteps(steps, "uniform")[0] == 1000 - 1000 // steps
    broken = facts["nan_risk_eta1_first_step"]["trailing_S_with_wrong_length_or_duplicates"]
    for steps in broken:
        grid = timesteps(steps, "uniform_trailing")
        assert len(grid) == steps
        assert grid[0] == 999


def test_denoise_keeps_the_end_of_a_longer_grid_as_the_host_does():
    whole = timesteps(20, "uniform_trailing")
    assert timesteps(10, "uniform_trailing", denoise=0.5).tolist() == whole[-10:].tolist()
    assert timesteps(10, "uniform_trailing", denoise=1.0)[0] == 999
    assert len(timesteps(10, "uniform", denoise=0.0)) == 0
    # Fewer timesteps than steps are left: the grid stays inside what denoise asked for.
    assert timesteps(50, "uniform_trailing", denoise=0.01).tolist() == list(range(9, -1, -1))
    assert len(timesteps(1, "uniform_trailing", denoise=1e-4)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, "uniform"), "steps is 0"),
        ((5, "trailing"), "spacing is 'trailing'"),
        ((5, "uniform", 1001), "start_timestep is 1001"),
        ((5, "uniform", 0), "start_timestep is 0"),
    ],
)
def test_wrong_grid_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        timesteps(*arguments)


@pytest.mark.parametrize("name", VARIANTS)
def test_sigmas_rise_and_every_timestep_round_trips(name):
    schedule = schedule_of(name)
    assert schedule.sigmas.dtype == torch.float32
    assert torch.isfinite(schedule.sigmas).all()
    assert (schedule.sigmas.diff() > 0).all()
    for t in range(0, 1000, 37):
        assert schedule.timestep_of(schedule.sigmas[t]) == (t, True)
    assert schedule.timestep_of(schedule.sigmas[999]) == (999, True)


def test_sigma_max_of_zero_terminal_snr_models():
    # From the host's own floor of alpha-bar: docs/method.md#two-state-spaces.
    assert schedule_of("512").sigmas[-1].item() == pytest.approx(6455, rel=1e-3)
    assert schedule_of("1024").sigmas[-1].item() == pytest.approx(15063, rel=1e-3)
    assert schedule_of("512").sigmas[0].item() == pytest.approx(0.02917, rel=1e-3)


def test_scale_is_exact_on_the_table_and_linear_in_log_sigma_between():
    schedule = schedule_of("1024")
    sigmas, scale = schedule.sigmas, schedule.scale
    assert torch.equal(schedule.scale_at(sigmas), scale)
    between = (sigmas[200].log() * 0.25 + sigmas[201].log() * 0.75).exp()
    expected = scale[200] * 0.25 + scale[201] * 0.75
    assert schedule.scale_at(between).item() == pytest.approx(expected.item(), abs=1e-6)
    outside = schedule.scale_at(torch.tensor([0.0, 1e-3, 1e6]))
    assert outside.tolist() == [1.0, 1.0, pytest.approx(0.3)]


def test_a_sigma_off_the_table_is_told_apart():
    schedule = schedule_of("512")
    assert schedule.timestep_of(schedule.sigmas[500] * 1.00005) == (500, True)
    assert schedule.timestep_of(schedule.sigmas[500] * 1.0005) == (500, False)
    assert schedule.timestep_of(0.0) == (0, False)
    alpha_bar, scale = schedule.table_values(
        schedule.sigmas[[500, 999]] * torch.tensor([1.0005, 1])
    )
    assert alpha_bar[0].item() == pytest.approx(schedule.alphas_cumprod[500].item(), rel=2e-3)
    assert alpha_bar[0] != schedule.alphas_cumprod[500]
    assert alpha_bar[1] == 0.0
    assert torch.equal(scale, schedule.scale[[500, 999]])


@pytest.mark.parametrize("name", ["256", "512", "1024", "videocrafter1_1024"])
def test_conversions_reproduce_the_published_formulas(name):
    schedule = schedule_of(name)
    t = torch.tensor([20, 350, 900])
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(3, 4, 2, 3, 5, generator=generator) for _ in range(2))
    wide = (-1, 1, 1, 1, 1)
    alpha = schedule.alphas_cumprod[t].view(wide)
    scale, sigma = schedule.scale[t].view(wide), schedule.sigmas[t]
    x_t = alpha.sqrt() * scale * x0 + (1 - alpha).sqrt() * eps
    y = x0 + sigma.view(wide) * eps
    v = alpha.sqrt() * eps - (1 - alpha).sqrt() * scale * x0
    output = v if schedule.parameterization == "v" else eps

    assert torch.allclose(schedule.model_input(sigma, y), x_t, atol=2e-5)
    assert torch.allclose(schedule.state_from_model_input(sigma, x_t), y, rtol=1e-5, atol=2e-5)
    assert torch.allclose(schedule.denoised(sigma, output, y), x0, atol=2e-4)
    assert torch.allclose(schedule.output_from_denoised(sigma, x0, y), output, atol=2e-4)


@pytest.mark.parametrize("name", ["256", "512", "1024"])
def test_output_survives_the_way_through_the_denoised_latent(name):
    schedule = schedule_of(name)
    generator = torch.Generator().manual_seed(1)
    x_t, output = (torch.randn(1, 4, 3, 4, 4, generator=generator) for _ in range(2))
    for t in range(0, 1000, 27):
        sigma = schedule.sigmas[t]
        y = schedule.state_from_model_input(sigma, x_t)
        back = schedule.output_from_denoised(sigma, schedule.denoised(sigma, output, y), y)
        assert (back - output).abs().max() < 5e-5
        assert (schedule.model_input(sigma, y) - x_t).abs().max() < 1e-6


def test_batch_of_sigmas_equals_single_ones_and_broadcasts_over_4d():
    schedule = schedule_of("1024")
    y = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(2))
    sigmas = schedule.sigmas[[100, 700]]
    both = schedule.model_input(sigmas, y)
    for i in range(2):
        assert torch.equal(both[i : i + 1], schedule.model_input(sigmas[i], y[i : i + 1]))


@pytest.mark.parametrize("name", ["256", "512", "1024"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_buffers_of_a_checkpoint_win_even_when_rounded(name, dtype):
    expected = schedule_of(name)
    base = VARIANTS[name].base_scale
    stored = None if base is None else dynamic_rescale(base).to(dtype)
    read = NoiseSchedule.from_buffers(
        expected.alphas_cumprod.to(dtype), stored, expected.parameterization
    )
    assert torch.equal(read.alphas_cumprod, expected.alphas_cumprod)
    assert torch.equal(read.scale, expected.scale)


def test_foreign_buffers_are_taken_as_they_are():
    alphas = torch.linspace(0.99, 0.01, 1000)
    schedule = NoiseSchedule.from_buffers(alphas, torch.linspace(1, 0.9, 1400), "v")
    assert torch.equal(schedule.alphas_cumprod, alphas)
    assert schedule.scale[-1].item() == pytest.approx(1 - 0.1 * 999 / 1399)


@pytest.mark.parametrize(
    "alphas",
    [
        torch.full((1000,), 0.5),
        torch.linspace(0.9, -0.1, 1000),
        torch.linspace(1.0, 0.1, 1000),
        torch.full((1000,), float("nan")),
    ],
)
def test_damaged_buffers_are_refused(alphas):
    with pytest.raises(ValueError, match="noise schedule is damaged"):
        NoiseSchedule.from_buffers(alphas, None, "v")


def test_buffers_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\[1000\] and scale \[900\]"):
        NoiseSchedule(torch.linspace(0.99, 0.01, 1000), torch.ones(900), "v")


def test_ddim_sigmas_end_clean_or_as_published():
    schedule = schedule_of("512")
    grid = timesteps(5, "uniform_trailing")
    clean = ddim_sigmas(schedule, grid, "clean")
    published = ddim_sigmas(schedule, grid, "published")
    assert torch.equal(clean[:-1], schedule.sigmas[grid])
    assert clean[-1] == 0
    assert torch.equal(published[:-1], clean[:-1])
    assert published[-1] == schedule.sigmas[0]
    assert is_published_ending(schedule, published)
    assert is_published_ending(schedule, published * 1.00005)
    assert not is_published_ending(schedule, clean)
    assert not is_published_ending(schedule, clean[:-1])
    assert not is_published_ending(schedule, torch.empty(0))
    assert len(ddim_sigmas(schedule, torch.empty(0, dtype=torch.int64), "published")) == 0
    with pytest.raises(ValueError, match="ending is 'dirty'"):
        ddim_sigmas(schedule, grid, "dirty")  # type: ignore[arg-type]


def test_sigmas_equal_their_definition_in_float64():
    schedule = schedule_of("256")
    alphas = schedule.alphas_cumprod.double().numpy()
    expected = np.sqrt((1 - alphas) / alphas)
    np.testing.assert_allclose(schedule.sigmas.numpy(), expected, rtol=1e-7)


def test_the_tables_never_wait_for_the_device():
    schedule = NoiseSchedule.from_variant(True, 0.7, "v")
    with Crossings() as crossings:
        for _ in range(3):
            y = torch.empty(2, 4, device="meta")
            schedule.model_input(torch.empty((), device="meta"), y)
            schedule.denoised(torch.empty((), device="meta"), y, y)
    assert crossings.found == []
