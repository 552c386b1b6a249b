"""A followed reference: what the host's sampler is given, and what it is spared."""

from types import SimpleNamespace
from typing import Any

import comfy.model_sampling
import pytest
import torch
from pack.dc_model.motion.clocks import Clocks
from pack.dc_model.sampling.schedule import ddim_sigmas, schedule_of, timesteps
from pack.dc_model.variants import VARIANTS
from pack.nodes.checks import InputError
from pack.nodes.host import keys
from pack.nodes.host.followed_reference import Followed, follow_reference
from pack.nodes.host.model import DynamiCrafterSampling
from torch import Tensor

FRAMES, VIDEOS = 2, 2
SCHEDULE = schedule_of(VARIANTS["512"])
SAMPLING = DynamiCrafterSampling(SimpleNamespace(schedule=SCHEDULE))
SIGMAS = ddim_sigmas(SCHEDULE, timesteps(10, "uniform_trailing"), "clean")
NOISE = torch.randn(VIDEOS * FRAMES, 4, 2, 2, generator=torch.Generator().manual_seed(0))
REFERENCE = torch.randn(FRAMES, 4, 2, 2, generator=torch.Generator().manual_seed(1))
TILED = REFERENCE.repeat(VIDEOS, 1, 1, 1)


class Executor:
    """Stands for the host's sampler; asks the mask at each step, as inpainting does."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(
        self,
        guider: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        latent: Any,
        mask: Any,
        disable: bool,
    ) -> Tensor:
        del guider, disable
        gate = extra_args["model_options"].get("denoise_mask_function")
        masks = [] if gate is None else [gate(s.expand(4), mask, None) for s in sigmas[:-1]]
        self.calls.append(
            {"sigmas": sigmas, "noise": noise, "latent": latent, "mask": mask, "masks": masks}
        )
        if callback is not None:
            callback(0, None, None, len(sigmas) - 1)
        return torch.full_like(noise, 7.0)


def run(
    followed: Followed | None,
    sigmas: Tensor = SIGMAS,
    noise: Tensor = NOISE,
    sampling: Any = SAMPLING,
    callback: Any = None,
    latent: Tensor | None = None,
    mask: Tensor | None = None,
    **model_options: Any,
) -> tuple[Tensor, dict[str, Any]]:
    conds = {"positive": [{"model_conds": {"num_video_frames": SimpleNamespace(cond=FRAMES)}}]}
    inner = SimpleNamespace(model_sampling=sampling, process_latent_in=lambda latents: latents)
    guider = SimpleNamespace(inner_model=inner, conds=conds)
    options = {} if followed is None else {keys.REFERENCE: followed}
    executor = Executor()
    arguments = {"model_options": {"transformer_options": options, **model_options}}
    found = follow_reference(
        executor, guider, sigmas, arguments, callback, noise, latent, mask, False
    )
    return found, executor.calls[0] if executor.calls else {}


def given(
    weak: int = 800,
    strong: int = 400,
    strength: float = 1.0,
    moved: Tensor | None = None,
    free: Tensor | None = None,
) -> Followed:
    where = torch.ones(1, 16, 16) if moved is None else moved
    return Followed(REFERENCE, where, free, Clocks(weak, strong, strength))


def left() -> Tensor:
    """White on the left half."""
    mask = torch.zeros(1, 16, 16)
    mask[..., :8] = 1
    return mask


@pytest.mark.parametrize("followed", [None, given(strength=0.0), given(1000, 1000)])
def test_without_anything_to_hold_the_sampler_gets_what_it_got(followed: Any) -> None:
    _, call = run(followed, latent=torch.ones_like(NOISE))
    assert call["sigmas"] is SIGMAS
    assert call["noise"] is NOISE
    assert bool((call["latent"] == 1).all())
    assert call["mask"] is None
    assert call["masks"] == []


def test_both_videos_start_from_the_reference_at_the_weak_timestep() -> None:
    _, call = run(given(moved=left()))
    assert torch.equal(call["sigmas"], SIGMAS[2:])
    assert torch.equal(call["latent"], TILED)
    assert torch.equal(call["noise"], NOISE)
    held = [(m == 0).all(dim=(0, 1, 2)).tolist() for m in call["masks"]]
    assert held == [[True, False]] * 4 + [[False, False]] * 4


def test_progress_counts_the_steps_that_are_skipped() -> None:
    seen: list[Any] = []
    run(given(), callback=lambda *values: seen.append(values))
    assert seen == [(6, None, None, 10)]


def test_what_may_not_move_is_the_reference_in_the_end() -> None:
    found, call = run(given(free=left()))
    assert bool((found[..., 0] == 7).all())
    assert torch.equal(found[..., 1], TILED[..., 1])
    assert bool((call["masks"][-1][..., 1] == 0).all())


def test_a_latent_s_own_mask_wins() -> None:
    own = torch.ones(4, 1, 2, 2)
    own[0] = 0
    image = torch.full_like(NOISE, 3.0)
    _, call = run(given(), latent=image, mask=own)
    assert bool((call["latent"][0] == 3).all())
    assert torch.equal(call["latent"][1:], TILED[1:])
    assert bool((call["masks"][0][0] == 0).all())


def test_other_functions_of_the_mask_stay_in_force() -> None:
    def half(_sigma: Tensor, mask: Tensor, extra_options: Any = None) -> Tensor:
        del extra_options
        return mask * 0.5

    _, call = run(given(moved=left()), denoise_mask_function=half)
    assert bool((call["masks"][0][..., 0] == 0).all())
    assert bool((call["masks"][0][..., 1] == 0.5).all())


def test_a_later_stage_takes_the_noise_out_of_its_latent() -> None:
    """The stage before ended with the reference under its noise."""
    sigma = SIGMAS[4]
    _, call = run(given(), SIGMAS[4:], torch.zeros_like(NOISE), latent=TILED + sigma * NOISE)
    torch.testing.assert_close(call["noise"], NOISE, atol=1e-4, rtol=1e-4)
    assert torch.equal(call["latent"], TILED)


def test_a_stage_in_which_all_is_held_is_spared() -> None:
    found, call = run(given(), SIGMAS[:3])
    assert call == {}
    torch.testing.assert_close(found, TILED + SIGMAS[2] * NOISE)


def test_a_run_in_which_nothing_is_sampled_is_refused() -> None:
    """One step starts at the top, where everything is held."""
    ends = torch.stack([SIGMAS[0], SIGMAS[-1]])
    with pytest.raises(InputError, match="in all 1 steps, so nothing would be sampled; take more"):
        run(given(), ends)
    found, _ = run(given(free=torch.zeros(1, 16, 16)), ends)
    assert torch.equal(found, TILED)


def test_a_reference_of_other_proportions_is_refused() -> None:
    wide = given()._replace(latents=torch.zeros(FRAMES, 4, 2, 3))
    with pytest.raises(InputError, match="The reference has 24 x 16 pixels, the video 16 x 16; ma"):
        run(wide)
    _, call = run(given()._replace(latents=torch.ones(FRAMES, 4, 4, 4)))
    assert bool((call["latent"] == 1).all())


def test_a_stage_below_all_releases_is_plain() -> None:
    image = torch.full_like(NOISE, 3.0)
    _, call = run(given(), SIGMAS[6:], latent=image)
    assert call["latent"] is image
    assert call["mask"] is None


def test_other_lengths_are_refused() -> None:
    three = given()._replace(latents=torch.zeros(3, 4, 2, 2))
    with pytest.raises(InputError, match="The reference has 3 frames, the video 2; give both"):
        run(three)


def test_masks_of_other_lengths_are_refused() -> None:
    three = given()._replace(free=torch.ones(3, 16, 16))
    with pytest.raises(InputError, match="3 masks, the video 2 frames; give 1 mask or one"):
        run(three)


def test_a_sampling_without_timesteps_is_refused() -> None:
    class Flow:
        pass

    with pytest.raises(InputError, match="a node put Flow, which has none"):
        run(given(), sampling=Flow())
    assert isinstance(SAMPLING, comfy.model_sampling.ModelSamplingDiscrete)
