"""The start of Analytic-Init, by value, and the files it is published in."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dc_model.sampling.analytic_init import (
    AnalyticInit,
    analytic_init_noise,
    measure_analytic_init,
    read_analytic_init,
    resize_expectation,
)
from dc_model.sampling.schedule import NoiseSchedule


def test_start_equals_the_published_one(golden: Path):
    data = load_file(golden / "modules" / "ddim_cil_analytic_init.safetensors")
    schedule = NoiseSchedule.from_variant(True, 0.7, "v")
    found = analytic_init_noise(
        data["Expectation_X0"],
        data["Tr_Cov_d"].item(),
        schedule.alphas_cumprod[939].item(),
        data["init_eps"],
    )
    assert (found - data["x_T"]).abs().max() < 1e-6


def test_start_at_the_last_timestep_is_plain_noise():
    noise = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(analytic_init_noise(torch.ones(1, 4, 3, 2, 2), 0.8, 0.0, noise), noise)


def test_start_has_the_stated_mean_and_variance():
    noise = torch.randn(1, 4, 16, 40, 64, generator=torch.Generator().manual_seed(0))
    found = analytic_init_noise(torch.full((1, 4, 1, 1, 1), 2.0), 0.5, 0.36, noise)
    assert found.mean().item() == pytest.approx(0.6 * 2.0, abs=0.01)
    assert found.var().item() == pytest.approx(1 - 0.36 + 0.36 * 0.5, abs=0.01)


def test_expectation_is_resampled_to_any_length_and_size():
    expectation = torch.arange(8.0).view(1, 1, 2, 2, 2)
    assert resize_expectation(expectation, 2, 2, 2) is expectation
    assert resize_expectation(expectation, 1, 1, 1).item() == pytest.approx(3.5)
    larger = resize_expectation(expectation, 5, 7, 1)
    assert larger.shape == (1, 1, 5, 7, 1)
    assert larger.mean().item() == pytest.approx(3.5)
    assert (larger.diff(dim=2) >= 0).all()
    resized = AnalyticInit(expectation, 0.8).resized(4, 3, 3)
    assert resized.expectation.shape == (1, 1, 4, 3, 3)
    assert resized.trace_per_dim == 0.8


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_published_files_are_read(suffix, tmp_path):
    path = tmp_path / f"init{suffix}"
    expectation = torch.randn(1, 4, 16, 5, 8, generator=torch.Generator().manual_seed(0))
    content = {"Expectation_X0": expectation, "Tr_Cov_d": torch.tensor(0.808)}
    if suffix == ".pt":
        torch.save(content, path)
    else:
        save_file(content, path)
    read = read_analytic_init(path)
    assert torch.equal(read.expectation, expectation)
    assert read.trace_per_dim == pytest.approx(0.808)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("trace", [np.float64(0.808), 0.808])
def test_the_variance_may_be_a_number(trace, zipped, tmp_path):
    path = tmp_path / "init.pt"
    content = {"Expectation_X0": torch.zeros(1, 4, 2, 5, 8), "Tr_Cov_d": trace}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert read_analytic_init(path).trace_per_dim == pytest.approx(0.808)


@pytest.mark.parametrize("trace", [np.float32(0.8), np.int64(4605380978949069210)])
def test_numbers_of_other_types_are_not_taken_for_reals(trace, tmp_path):
    """The second has the bytes of 0.8."""
    path = tmp_path / "init.pt"
    content = {"Expectation_X0": torch.zeros(1, 4, 2, 5, 8), "Tr_Cov_d": trace}
    torch.save(content, path)
    with pytest.raises(ValueError, match="no Expectation_X0 and Tr_Cov_d that can be read"):
        read_analytic_init(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"Expectation_X0": torch.zeros(1)}, r"init.pt: It holds no Expectation_X0 and Tr_Cov_d"),
        (
            {"state_dict": {"Expectation_X0": torch.zeros(1, 4, 1, 2, 2), "Tr_Cov_d": 0.8}},
            "no Expectation_X0 and Tr_Cov_d that can be read: expected two tensors, or Tr_Cov_d as",
        ),
        (
            {"Expectation_X0": torch.zeros(1, 4, 1, 2, 2), "Tr_Cov_d": True},
            "Tr_Cov_d as a floating number at the file's top level; save them so",
        ),
        ([1, 2], "init.pt: It holds a list"),
        ({"Expectation_X0": torch.zeros(1, 3, 1, 2, 2), "Tr_Cov_d": 0.8}, r"of shape \[1, 3"),
        ({"Expectation_X0": torch.zeros(1, 4, 0, 2, 2), "Tr_Cov_d": 0.8}, r"of shape \[1, 4, 0"),
        ({"Expectation_X0": torch.zeros(1, 4, 1, 2, 2), "Tr_Cov_d": -0.1}, "not a variance"),
        ({"Expectation_X0": torch.zeros(1, 4, 1, 2, 2), "Tr_Cov_d": math.nan}, "not a variance"),
        ({"Expectation_X0": torch.zeros(1, 4, 1, 2, 2), "Tr_Cov_d": math.inf}, "not a variance"),
        ({"Expectation_X0": torch.full((1, 4, 1, 2, 2), math.nan), "Tr_Cov_d": 1.0}, "not finite"),
        ({"Expectation_X0": torch.zeros(1, 4, 1, 2, 2).int(), "Tr_Cov_d": 1.0}, "torch.int32"),
        ({"Expectation_X0": torch.zeros(1, 4, 1, 2, 2), "Tr_Cov_d": torch.tensor(1)}, "int64"),
        ({"Expectation_X0": torch.zeros(4, 16), "Tr_Cov_d": 0.8}, r"of shape \[4, 16\]"),
        ({"Expectation_X0": torch.zeros(1, 4, 1, 2, 2), "Tr_Cov_d": torch.ones(3)}, r"shape \[3\]"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    path = tmp_path / "init.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        read_analytic_init(path)


def test_measured_statistics_are_mean_and_average_variance():
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(4, 3, 2, 2, generator=generator)
    videos = mean + 0.5 * torch.randn(4000, 4, 3, 2, 2, generator=generator)
    found = measure_analytic_init(videos)
    assert found.expectation.shape == (1, 4, 3, 2, 2)
    assert (found.expectation[0] - mean).abs().max() < 0.05
    assert found.trace_per_dim == pytest.approx(0.25, abs=0.005)


def test_the_spread_of_one_video_cannot_be_measured():
    with pytest.raises(ValueError, match="at least 2"):
        measure_analytic_init(torch.zeros(1, 4, 3, 2, 2))


def test_growing_axes_are_interpolated_between_the_middles_of_pixels():
    grown = resize_expectation(torch.tensor([0.0, 1.0]).view(1, 1, 2, 1, 1), 4, 1, 1)
    assert grown.flatten().tolist() == pytest.approx([0.0, 0.25, 0.75, 1.0])


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_statistics_stay_when_the_file_changes(suffix: str, tmp_path: Path) -> None:
    """Noise made of them may be kept for long, and a file downloaded again meanwhile."""
    path = tmp_path / f"init{suffix}"
    tensors = {"Expectation_X0": torch.ones(1, 4, 16, 5, 8), "Tr_Cov_d": torch.tensor(0.5)}
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    init = read_analytic_init(path)
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert torch.equal(init.expectation, torch.ones(1, 4, 16, 5, 8))
