"""Published sampler runs are reproduced; `clean` is Euler; nothing ever becomes NaN."""

import json
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from crossings import Crossings
from safetensors.torch import load_file
from torch import Tensor

from dc_model.checkpoint.detect import detect_unet_arch
from dc_model.sampling.ddim import (
    PublishedStep,
    clean_steps,
    published_step,
    published_steps,
    sample_ddim,
)
from dc_model.sampling.guidance import classifier_free, rescale_guidance, two_scale
from dc_model.sampling.schedule import NoiseSchedule, ddim_sigmas, timesteps
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import VARIANTS

RUNS = (
    "256_eta0",
    "256_eta1",
    "512_eta0",
    "512_eta1",
    "512_S1",
    "512_cfg1",
    "512_eta1_b2_nonsquare",
    "512_interp",
    "512_loop",
    "512_multicond",
    "512_multicond_noimg",
    "1024_eta0",
    "1024_eta1",
    "cil_analytic_init",
    "vc1_512_eta1",
    "vc1_1024_eta0",
    "vc2_eta1",
)
MASKED_RUNS = ("512_mask_clean", "512_mask_noised")

# Largest seen: 1.6e-5 (512_interp), from float32 rounding in the U-Net.
RELATIVE_TOLERANCE = 5e-5


def schedule_of(name: str) -> NoiseSchedule:
    v = VARIANTS[name]
    return NoiseSchedule.from_variant(
        v.zero_terminal_snr, v.base_scale, v.parameterization, v.final_scale
    )


@cache
def load_unet(path: Path) -> DynamiCrafterUNet:
    weights = {k[2:]: v.float() for k, v in load_file(path).items()}
    settings = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    arch = detect_unet_arch(
        {k: tuple(v.shape) for k, v in weights.items()},
        settings["unet_params"]["num_head_channels"],
    )
    unet = DynamiCrafterUNet(arch)
    unet.load_state_dict(weights)
    return unet.eval()


class Run:
    """A published run: its settings, tensors, schedule and guided model."""

    def __init__(self, folder: Path, name: str):
        self.settings = json.loads((folder / f"ddim_{name}.json").read_text(encoding="utf-8"))
        self.tensors = load_file(folder / f"ddim_{name}.safetensors")
        self.unet = load_unet(folder / self.settings["weights"])
        is_v = self.settings["parameterization"] == "v"
        self.schedule = NoiseSchedule.from_variant(
            zero_terminal_snr=is_v,
            base_scale=self.settings["base_scale"],
            parameterization=self.settings["parameterization"],
            final_scale="none" if name.startswith("vc") else "last",
        )
        self.grid = timesteps(
            self.settings["S"],
            self.settings["timestep_spacing"],
            self.settings["ddpm_from"] or 1000,
        )
        self.sigmas = ddim_sigmas(self.schedule, self.grid, "published")
        self.eta = self.settings["eta"]

    def denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        x_t = self.schedule.model_input(sigma, y)
        timestep, on_grid = self.schedule.timestep_of(sigma)
        assert on_grid
        with torch.no_grad():
            output = self._guided(x_t, torch.full((len(x_t),), timestep))
        return self.schedule.denoised(sigma, output, y)

    def noise(self) -> Iterator[Tensor]:
        return iter(self.tensors.get("step.noise", ()))

    def _guided(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        scale, image_scale = self.settings["cfg"], self.settings["cfg_img"]
        cond = self._output(x_t, timestep, "cond")
        if scale == 1.0:
            return cond
        uncond = self._output(x_t, timestep, "uncond")
        if self.settings["multi_cond"]:
            image_only = self._output(x_t, timestep, "img_only")
            guided = two_scale(cond, image_only, uncond, scale, image_scale or scale)
        else:
            guided = classifier_free(cond, uncond, scale)
        phi = self.settings["guidance_rescale"]
        return rescale_guidance(guided, cond, phi) if phi else guided

    def _output(self, x_t: Tensor, timestep: Tensor, branch: str) -> Tensor:
        context = self.tensors[f"{branch}.context"].float()
        concat = self.tensors.get("concat")
        x = x_t if concat is None else torch.cat([x_t, concat], dim=1)
        image = context[:, 77:] if concat is not None else None
        return self.unet(x, timestep, context[:, :77], image, self.tensors["fs"])


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", RUNS)
def test_published_runs_are_reproduced(name, golden):
    run = Run(golden / "modules", name)
    assert run.grid.tolist() == run.tensors["step.t"].tolist()
    noise = run.noise()
    start = run.tensors["x_T"]
    samples = sample_ddim(
        run.denoise,
        torch.full_like(start, float("nan")),
        run.sigmas,
        run.schedule,
        run.eta,
        lambda *_: next(noise),
        start_noise=start,
    )
    assert relative_error(samples, run.tensors["samples"]) < RELATIVE_TOLERANCE
    # One draw per step at eta > 0, in the last step too.
    assert next(noise, None) is None


@pytest.mark.parametrize("name", MASKED_RUNS)
def test_published_runs_with_a_mask_are_reproduced_step_by_step(name, golden):
    run = Run(golden / "modules", name)
    tensors, schedule = run.tensors, run.schedule
    x_t, mask, noise = tensors["x_T"], tensors["mask"], run.noise()
    for i, step in enumerate(published_steps(schedule, run.sigmas, run.eta)):
        known = tensors["x0"]
        if not run.settings["clean_cond"]:
            spread = (1 - step.alpha_bar) ** 0.5
            known = step.alpha_bar**0.5 * known + spread * tensors["step.q_noise"][i]
        x_t = known * mask + (1 - mask) * x_t
        sigma = run.sigmas[i]
        y = schedule.state_from_model_input(sigma, x_t)
        output = schedule.output_from_denoised(sigma, run.denoise(y, sigma), y)
        x_t = published_step(step, schedule.parameterization, x_t, output, next(noise, None))
    assert relative_error(x_t, tensors["samples"]) < RELATIVE_TOLERANCE


def test_noise_levels_equal_the_published_ones_bit_for_bit(golden):
    published = load_file(golden / "modules" / "schedule.safetensors")
    checked = 0
    for key in published:
        if not key.endswith(".alphas"):
            continue
        model, spacing, steps, eta_name = key.removesuffix(".alphas").split(".")
        schedule, eta = schedule_of(model.removeprefix("dc")), float(eta_name[3:])
        sigmas = ddim_sigmas(schedule, timesteps(int(steps), spacing), "published")  # type: ignore[arg-type]
        found = published_steps(schedule, sigmas, eta)[::-1]
        assert [s.alpha_bar for s in found] == published[key].tolist()
        following = published[key.replace("alphas", "alphas_prev")]
        assert [s.alpha_bar_next for s in found] == following.tolist()
        levels = published[key.replace("alphas", "sigmas")].float()
        assert [s.noise for s in found] == levels.tolist(), key
        checked += 1
    assert checked > 20


def test_float32_residue_is_negative_exactly_where_the_published_sampler_gives_nan(golden):
    facts = json.loads((golden / "modules" / "schedule.json").read_text(encoding="utf-8"))
    schedule, negative = schedule_of("512"), []
    for steps in range(1, 501):
        sigmas = ddim_sigmas(schedule, timesteps(steps, "uniform_trailing"), "published")
        first = published_steps(schedule, sigmas[[0, 1, -1]], eta=1.0)[0]
        noise = np.float32(first.noise)
        left = np.float32(1) - np.float32(first.alpha_bar_next) - noise * noise
        assert first.direction == np.sqrt(max(left, np.float32(0)))
        if left < 0:
            negative.append(steps)
    assert negative == facts["nan_risk_eta1_first_step"]["S"]


def exact_denoiser(y: Tensor, sigma: Tensor) -> Tensor:
    """The clean latent's mean when the data are unit Gaussian noise."""
    return y / (1 + sigma**2)


DISTINCT_SCHEDULES = (
    "256",
    "512",
    "1024",
    "videocrafter1_512",
    "videocrafter1_1024",
    "videocrafter2",
)
# Where the published sampler gives NaN with zero terminal SNR, and a few others.
STEP_COUNTS = (1, 2, 3, 5, 7, 11, 14, 15, 20, 25, 33, 37, 50, 61, 64, 101, 137, 199, 200)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("ending", ["published", "clean"])
@pytest.mark.parametrize("name", DISTINCT_SCHEDULES)
def test_runs_stay_finite(name, ending, eta):
    schedule, spacing = schedule_of(name), VARIANTS[name].spacing
    start, noise = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    for steps in STEP_COUNTS:
        sigmas = ddim_sigmas(schedule, timesteps(steps, spacing), ending)
        y = schedule.state_from_model_input(sigmas[0], start)
        result = sample_ddim(
            exact_denoiser, y, sigmas, schedule, eta, lambda *_: noise, start_noise=start
        )
        assert torch.isfinite(result).all(), steps
        assert result.abs().max() < 50, steps


def test_the_schedules_tried_are_those_of_all_variants():
    def settings(name: str) -> tuple:
        v = VARIANTS[name]
        return v.zero_terminal_snr, v.base_scale, v.parameterization, v.final_scale, v.spacing

    assert {settings(n) for n in DISTINCT_SCHEDULES} == {settings(n) for n in VARIANTS}


@pytest.mark.parametrize("name", DISTINCT_SCHEDULES)
def test_coefficients_of_every_step_count_are_finite(name):
    schedule, spacing = schedule_of(name), VARIANTS[name].spacing
    for steps in (*range(1, 101), 125, 150, 200, 250, 500, 1000):
        grid = timesteps(steps, spacing)
        to_clean, to_published = (
            ddim_sigmas(schedule, grid, end) for end in ("clean", "published")
        )
        for eta in (0.0, 1.0):
            clean = clean_steps(schedule, to_clean, eta)
            assert np.isfinite(clean).all(), (steps, eta)
            published = published_steps(schedule, to_published, eta)
            assert np.isfinite(published).all(), (steps, eta)
            if schedule.parameterization == "eps":  # divides by the root of alpha-bar
                assert min(step.alpha_bar for step in published) > 0


def nonlinear_denoiser(y: Tensor, sigma: Tensor) -> Tensor:
    return torch.tanh(y / (1 + sigma**2).sqrt() + 0.3)


def euler(y: Tensor, sigmas: Tensor) -> Tensor:
    for sigma, following in pairwise(sigmas):
        clean = nonlinear_denoiser(y, sigma)
        y = y + (y - clean) / sigma * (following - sigma)
    return y


def no_noise(*_: Tensor) -> Tensor:
    raise AssertionError("noise was drawn at eta 0")


@pytest.mark.parametrize("name", ["256", "512", "1024"])
def test_clean_without_noise_is_euler(name):
    schedule = schedule_of(name)
    sigmas = ddim_sigmas(schedule, timesteps(10, VARIANTS[name].spacing), "clean")
    y = torch.randn(4, 6, generator=torch.Generator().manual_seed(3)) * sigmas[0]
    for end in (None, -1):
        found = sample_ddim(nonlinear_denoiser, y, sigmas[:end], schedule, 0.0, no_noise)
        assert relative_error(found, euler(y, sigmas[:end])) < 1e-5


def test_clean_ends_at_the_denoised_latent_without_a_draw():
    schedule = schedule_of("512")
    sigmas = torch.tensor([2.0, 0.5, 0.0])
    drawn, seen = [], []

    def draw(sigma: Tensor, following: Tensor) -> Tensor:
        drawn.append((sigma.item(), following.item()))
        return torch.ones(3)

    def keep(i: int, y: Tensor, sigma: Tensor, clean: Tensor) -> None:
        seen.append((i, sigma.item(), clean))
        assert torch.equal(clean, nonlinear_denoiser(y, sigma))

    found = sample_ddim(
        nonlinear_denoiser, torch.ones(3) * 2, sigmas, schedule, 1.0, draw, on_step=keep
    )
    assert drawn == [(2.0, 0.5)]
    assert [(i, sigma) for i, sigma, _ in seen] == [(0, 2.0), (1, 0.5)]
    assert torch.equal(found, seen[-1][2])


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["256", "1024"])
def test_clean_and_published_steps_agree_inside_a_run(name, eta):
    """The same transition, computed in sigma and in the table's terms."""
    schedule = schedule_of(name)
    sigmas = schedule.sigmas[[900, 500, 120, 0]]
    generator = torch.Generator().manual_seed(4)
    x_t, noise = torch.randn(2, 4, 5, generator=generator)
    steps = published_steps(schedule, sigmas, eta)
    for i, (down, up) in enumerate(clean_steps(schedule, sigmas, eta)[:2]):
        sigma, following = sigmas[i], sigmas[i + 1]
        y = schedule.state_from_model_input(sigma, x_t)
        clean = nonlinear_denoiser(y, sigma)
        y_next = clean + down * (y - clean) + up * noise
        output = schedule.output_from_denoised(sigma, clean, y)
        x_next = published_step(steps[i], schedule.parameterization, x_t, output, noise)
        assert torch.allclose(schedule.model_input(following, y_next), x_next, atol=2e-4)


def test_published_ending_keeps_or_removes_the_last_scale():
    sigmas = schedule_of("512").sigmas[[199, 0]]
    assert published_steps(schedule_of("512"), sigmas, 0.0)[-1].rescale == 1.0
    removed = published_steps(
        schedule_of("videocrafter2"), schedule_of("videocrafter2").sigmas[[199, 0]], 0.0
    )
    scale = schedule_of("videocrafter2").scale[199].item()
    assert removed[-1].rescale == pytest.approx(1 / scale, rel=1e-6)


def test_published_run_starts_from_the_state_when_no_noise_is_given():
    schedule = schedule_of("512")
    sigmas = ddim_sigmas(schedule, timesteps(4, "uniform_trailing", 600), "published")
    x_t = torch.randn(3, 5, generator=torch.Generator().manual_seed(5))
    y = schedule.state_from_model_input(sigmas[0], x_t)
    run = (nonlinear_denoiser, y, sigmas, schedule, 0.0, no_noise)
    assert torch.allclose(sample_ddim(*run), sample_ddim(*run, start_noise=x_t), atol=1e-5)
    assert not torch.allclose(sample_ddim(*run), sample_ddim(*run, start_noise=x_t * 1.1))


def test_sigmas_off_the_table_use_the_variance_exploding_relation():
    schedule = schedule_of("1024")
    sigma = (schedule.sigmas[300] * schedule.sigmas[301]).sqrt()
    step = published_steps(schedule, torch.stack([sigma, schedule.sigmas[0]]), 0.0)[0]
    u = sigma * schedule.scale_at(sigma)
    assert step.alpha_bar == pytest.approx((1 / (1 + u**2)).item(), rel=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_sigmas_change_nothing(count):
    schedule = schedule_of("512")
    y = torch.ones(3)
    assert sample_ddim(nonlinear_denoiser, y, schedule.sigmas[:count], schedule, 1.0, no_noise) is y


def test_two_stages_equal_one():
    schedule = schedule_of("512")
    for ending, tolerance in (("clean", 1e-6), ("published", 1e-4)):
        sigmas = ddim_sigmas(schedule, timesteps(8, "uniform_trailing"), ending)  # type: ignore[arg-type]
        y = torch.randn(4, 5, generator=torch.Generator().manual_seed(6)) * sigmas[0]
        whole = sample_ddim(nonlinear_denoiser, y, sigmas, schedule, 0.0, no_noise)
        half = sample_ddim(nonlinear_denoiser, y, sigmas[:5], schedule, 0.0, no_noise)
        rest = sample_ddim(nonlinear_denoiser, half, sigmas[4:], schedule, 0.0, no_noise)
        assert relative_error(rest, whole) < tolerance


def test_a_step_is_plain_float32_numbers():
    schedule = schedule_of("512")
    step = published_steps(schedule, schedule.sigmas[[999, 0]], 1.0)[0]
    assert isinstance(step, PublishedStep)
    for value in (step.alpha_bar_next, step.noise, step.direction):
        assert float(np.float32(value)) == value


def test_noise_levels_that_rise_leave_no_room_for_fresh_noise():
    """The published formula would take the root of a negative number."""
    schedule = NoiseSchedule.from_variant(True, 0.7, "v")
    alphas = schedule.alphas_cumprod[[300, 700, 0]]
    rising, falling = published_steps(schedule, ((1 - alphas) / alphas).sqrt(), 1.0)
    assert rising.noise == 0.0
    assert falling.noise > 0.0


@pytest.mark.parametrize("ending", ["clean", "published"])
def test_a_step_reads_no_number_from_the_device(ending):
    schedule = NoiseSchedule.from_variant(True, 0.7, "v")

    def waits(steps: int) -> int:
        sigmas = ddim_sigmas(schedule, timesteps(steps, "uniform_trailing"), ending)
        y = torch.ones(1, 4)
        with Crossings() as crossings:
            sample_ddim(lambda y, _: y, y, sigmas, schedule, 1.0, lambda *_: torch.ones(1, 4))
        return len(crossings.found)

    assert waits(7) == waits(3)
