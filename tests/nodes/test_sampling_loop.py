"""Across samplers and guiders: no step reads a number that the host's own loop does not read.

On a GPU each read waits until all that was asked of it is done.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import comfy.context_windows
import comfy.samplers
import pytest
import torch
from crossings import Crossings
from host_sampling import FRAMES, SIDE, load_least, prompt
from pack.dc_model.motion.clocks import Clocks
from pack.nodes.host import keys
from pack.nodes.host.conditionings import Conditionings
from pack.nodes.host.followed_reference import Followed
from pack.nodes.host.guider import Guidance, build_guider
from pack.nodes.host.options import with_transformer_option
from pack.nodes.host.prior import build_prior_guider
from pack.nodes.sampling import SamplerSettings, VideoNoise, make_sigmas, sample

# Whether all numbers are finite: the smallest and the largest, which one wait brings.
FLAG = 2
LATENT = {"samples": torch.zeros(FRAMES, 4, SIDE, SIDE), "num_frames": FRAMES}


@dataclass(frozen=True)
class Run:
    """What is sampled."""

    settings: SamplerSettings = field(default_factory=SamplerSettings)
    guidance: Guidance = field(default_factory=lambda: Guidance(7.5, 7.5))
    image_only: bool = False
    change: Callable[[Any], Any] = lambda model: model


@pytest.fixture(scope="module")
def models(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Two of their own: one may be the other's prior."""
    return [load_least(golden, tmp_path_factory.mktemp(name)) for name in ("one", "two")]


def conditionings(three: bool) -> Conditionings:
    draw = torch.Generator().manual_seed(1)
    image: dict[str, Any] = {keys.CONCAT_LATENT: torch.randn(1, 4, SIDE, SIDE, generator=draw)}
    positive, negative, image_only = (prompt(draw, **image) for _ in range(3))
    return Conditionings(positive, negative, image_only if three else None)


def reads_of_a_step(run: Callable[[int], object]) -> int:
    """How many more numbers one more step reads."""
    counts = []
    for steps in (3, 4):
        with Crossings() as crossings:
            run(steps)
        counts.append(len(crossings.found))
    return counts[1] - counts[0]


def ours(model: Any, run: Run) -> Callable[[int], object]:
    given = conditionings(run.image_only)

    def once(steps: int) -> object:
        settings = run.settings._replace(steps=steps)
        return sample(run.change(model), given, LATENT, VideoNoise(0), settings, run.guidance)

    return once


def host_s(model: Any, guider: Any) -> Callable[[int], object]:
    """The host's Euler sampler under a guider."""
    noise = VideoNoise(0).generate_noise(LATENT)

    def once(steps: int) -> object:
        sigmas = make_sigmas(model, SamplerSettings(steps=steps))
        return guider.sample(
            noise, LATENT["samples"], comfy.samplers.sampler_object("euler"), sigmas,
            disable_pbar=True, seed=0,
        )  # fmt: skip

    return once


@pytest.fixture(scope="module")
def host_reads(models: list[Any]) -> Callable[[bool], int]:
    """How many numbers a step of the host's own loop reads, with or without its windows."""

    @cache
    def counted(windowed: bool) -> int:
        model = windows(models[0]) if windowed else models[0]
        return reads_of_a_step(host_s(model, build_guider(model, *_plain())))

    return counted


def windows(model: Any) -> Any:
    clone = model.clone()
    clone.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("flat"),
        context_length=2,
        context_overlap=1,
    )
    return clone


def reference(model: Any) -> Any:
    moved = torch.zeros(FRAMES, SIDE, SIDE)
    moved[:, :4] = 1
    clocks = Clocks(weak=940, strong=500)
    followed = Followed(torch.ones(FRAMES, 4, SIDE, SIDE), moved, None, clocks)
    return with_transformer_option(model, keys.REFERENCE, followed)


RUNS = {
    "eta 1": Run(),
    "eta 0": Run(SamplerSettings(eta=0.0)),
    "published": Run(SamplerSettings(ending="published")),
    "no guidance": Run(guidance=Guidance(1.0, 1.0)),
    "rescale": Run(guidance=Guidance(7.5, 7.5, 0.7)),
    "three branches": Run(guidance=Guidance(7.5, 2.0, 0.7), image_only=True),
    "windows": Run(change=windows),
    "reference": Run(change=reference),
    "pinned": Run(change=lambda m: with_transformer_option(m, keys.PINNED_FRAMES, "first")),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_step_reads_one_flag(
    models: list[Any], host_reads: Callable[[bool], int], name: str
) -> None:
    found = reads_of_a_step(ours(models[0], RUNS[name]))
    assert found <= host_reads(name == "windows") + FLAG


def test_a_prior_is_one_flag_more(models: list[Any], host_reads: Callable[[bool], int]) -> None:
    """Which model runs depends on the noise level, which the host keeps on the device."""
    model, prior = models
    given = conditionings(False)
    guider = build_prior_guider(
        model, prior, given.positive, given.negative, Guidance(7.5, 7.5), 0.5
    )
    assert reads_of_a_step(host_s(model, guider)) <= host_reads(False) + 1


def _plain() -> tuple[Conditionings, Guidance]:
    return conditionings(False), Guidance(7.5, 7.5)


def test_reads_are_counted() -> None:
    values = torch.ones(2)
    assert reads_of_a_step(lambda steps: [bool(values.any()) for _ in range(steps)]) == 1
