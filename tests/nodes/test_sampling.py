"""The sampler's noise, its settings and its grid of timesteps."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fakes import conditioning
from pack.dc_model.sampling.schedule import NoiseSchedule
from pack.nodes import sampling
from pack.nodes.checks import InputError
from pack.nodes.host.guider import Guidance
from pack.nodes.sampling import DDIM, SPACINGS, Sampler, SamplerSettings, VideoNoise, model_schedule

SEED, VIDEOS, FRAMES = 7, 2, 3


def latent(rows: int = VIDEOS * FRAMES, **values: Any) -> dict[str, Any]:
    return {"samples": torch.zeros(rows, 4, 5, 6), **values}


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(SEED))


def test_noise_is_drawn_in_the_published_layout() -> None:
    """`[N, 4, T, h, w]`; each frame becomes a row."""
    expected = drawn(VIDEOS, 4, FRAMES, 5, 6)
    found = VideoNoise(SEED).generate_noise(latent(num_frames=FRAMES))
    for video in range(VIDEOS):
        for frame in range(FRAMES):
            assert torch.equal(found[video * FRAMES + frame], expected[video, :, frame])


@pytest.mark.parametrize("values", [{}, {"num_frames": 4}, {"num_frames": 0}, {"num_frames": "3"}])
def test_a_number_that_does_not_divide_the_rows_means_one_video(values: dict[str, Any]) -> None:
    found = VideoNoise(SEED).generate_noise(latent(**values))
    assert torch.equal(found, drawn(1, 4, 6, 5, 6)[0].transpose(0, 1))


def test_another_seed_is_other_noise() -> None:
    one, two = (VideoNoise(seed).generate_noise(latent()) for seed in (SEED, SEED + 1))
    assert not torch.allclose(one, two)


@pytest.mark.parametrize(
    ("index", "fixed"), [([3] * 6, True), ([0, 1, 2, 3, 4, 5], False), ([3], False), (3, False)]
)
def test_latent_batch_seed_behavior(index: Any, fixed: bool) -> None:
    found = VideoNoise(SEED).generate_noise(latent(num_frames=FRAMES, batch_index=index))
    assert torch.equal(found, found[:1].expand_as(found)) == fixed


def test_settings_are_published_by_default() -> None:
    assert SamplerSettings() == SamplerSettings(50, 1.0, "auto", 1.0, "clean", 1000)
    assert "auto" in SPACINGS


def test_a_replaced_sampling_is_refused_by_its_name() -> None:
    with pytest.raises(InputError, match="SimpleNamespace, which a node put in place"):
        model_schedule(SimpleNamespace(schedule=NoiseSchedule))


def test_the_sampler_has_its_eta() -> None:
    assert DDIM.execute(eta=0.25).args[0].extra_options == {"eta": 0.25}


@pytest.mark.parametrize("noise", [None, VideoNoise(SEED)])
def test_every_widget_of_the_sampler_reaches_it(
    monkeypatch: pytest.MonkeyPatch, noise: VideoNoise | None
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sampling, "sample", lambda *args: seen.extend(args))
    texts = [conditioning(), conditioning(), conditioning()]
    given = latent()
    Sampler.execute.__wrapped__(  # without the door, which wants a real model
        *(Sampler, "model", *texts[:2], given, 11, 3, 5.0, 4.0, 0.5, "uniform", 0.2, "published"),
        *(940, 0.75, texts[2], noise),
    )
    model, conditionings, samples, source, settings, guidance = seen
    assert model == "model" and samples is given
    assert all(a is b for a, b in zip(conditionings, texts, strict=True))
    assert source.seed == (11 if noise is None else SEED)
    assert settings == SamplerSettings(3, 0.5, "uniform", 0.75, "published", 940)
    assert guidance == Guidance(5.0, 4.0, 0.2)
