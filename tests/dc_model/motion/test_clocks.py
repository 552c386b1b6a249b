"""Clocks: until when each place is held, and sampling that follows a reference."""

import math

import pytest
import torch
from torch import Tensor

from dc_model.motion.clocks import (
    Clocks,
    Reference,
    held,
    release_timesteps,
    steps_to_skip,
)
from dc_model.sampling.schedule import NoiseSchedule
from dc_model.sampling.videos import sample_videos

SCHEDULES = {
    "512": NoiseSchedule.from_variant(True, 0.7, "v"),
    "1024": NoiseSchedule.from_variant(True, 0.3, "v"),
    "256": NoiseSchedule.from_variant(False, None, "eps"),
}
SHAPE = (1, 4, 3, 2, 2)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*(shape or SHAPE), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("moved", "free", "strength", "expected"),
    [
        (0.0, 1.0, 1.0, 900),
        (1.0, 1.0, 1.0, 500),
        (0.5, 1.0, 1.0, 700),
        (1.0, 0.0, 1.0, 0),
        (0.0, 0.5, 1.0, 450),
        (1.0, 1.0, 0.5, 750),
        (1.0, 0.0, 0.0, 1000),
    ],
)
def test_release_by_region(moved: float, free: float, strength: float, expected: int) -> None:
    release = release_timesteps(
        Clocks(900, 500, strength), torch.full((2, 3), moved), torch.full((2, 3), free)
    )
    assert release.shape == (2, 3)
    assert bool((release == expected).all())


def test_a_place_is_held_down_to_its_release() -> None:
    """Entry `t` of the schedule is timestep `t + 1`."""
    release = torch.tensor([0.0, 500.0, 1000.0])
    assert held(release, 999).tolist() == [True, True, False]
    assert held(release, 500).tolist() == [True, True, False]
    assert held(release, 499).tolist() == [True, False, False]
    assert held(release, 0).tolist() == [True, False, False]


def test_steps_in_which_all_is_held_are_skipped() -> None:
    release = torch.tensor([500.0, 900.0])
    assert steps_to_skip(release, [999, 949, 899, 499, 0]) == 2
    assert steps_to_skip(torch.tensor([1000.0]), [999, 0]) == 0
    assert steps_to_skip(torch.tensor([0.0]), [999, 0]) == 2
    # Noise levels that rise, as an unsampler's.
    assert steps_to_skip(release, [0, 499, 999]) == 0


@pytest.mark.parametrize(
    ("weak", "strong", "strength", "found"),
    [
        (500, 501, 1.0, "down to timestep 501, the rest to 500"),
        (1001, 5, 1.0, "choose 1 to 1000"),
        (5, 0, 1.0, "choose 1 to 1000"),
        (5, 5, 1.5, "strength is 1.5; choose 0 to 1"),
        (5, 5, math.nan, "strength is nan"),
    ],
)
def test_clocks_out_of_range_are_refused(
    weak: int, strong: int, strength: float, found: str
) -> None:
    with pytest.raises(ValueError, match=found):
        Clocks(weak, strong, strength)


class Seen:
    """A network that predicts nothing and remembers what it was shown."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, Tensor]] = []

    def __call__(self, x: Tensor, concat: object, t: Tensor, *_: object) -> Tensor:
        del concat
        self.calls.append((int(t[0]), x.clone()))
        return 0.1 * x


def sampled(
    name: str, reference: Reference | None, eta: float = 0.0, ending: str = "clean"
) -> tuple[Tensor, Seen]:
    seen = Seen()
    latents = sample_videos(
        seen,
        SCHEDULES[name],
        noise=drawn(1),
        concat=None,
        text=torch.zeros(1, 77, 4),
        null_text=torch.zeros(1, 77, 4),
        image_tokens=None,
        null_image_tokens=None,
        speed=torch.zeros(1),
        steps=10,
        eta=eta,
        ending=ending,  # type: ignore[arg-type]
        generator=torch.Generator().manual_seed(3),
        reference=reference,
    )
    return latents, seen


def reference(clocks: Clocks, moved: Tensor | None = None, free: Tensor | None = None) -> Reference:
    mask = torch.zeros(1, 1, *SHAPE[2:]) if moved is None else moved
    return Reference(drawn(2), release_timesteps(clocks, mask, free))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("ending", ["clean", "published"])
def test_strength_0_is_the_plain_run(name: str, ending: str) -> None:
    moved = torch.ones(1, 1, *SHAPE[2:])
    given = reference(Clocks(900, 500, strength=0.0), moved, torch.zeros_like(moved))
    plain, _ = sampled(name, None, 1.0, ending)
    assert torch.equal(sampled(name, given, 1.0, ending)[0], plain)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_network_sees_the_published_forward_process(name: str) -> None:
    """`x_t = sqrt(a) s R + sqrt(1 - a) eps`, in the moved part down to the strong timestep."""
    schedule = SCHEDULES[name]
    moved = torch.zeros(1, 1, *SHAPE[2:])
    moved[..., 1:, :, :] = 1
    given = reference(Clocks(800, 400), moved)
    _, seen = sampled(name, given)
    assert [t for t, _ in seen.calls] == [t for t in range(99, 1000, 100)][::-1][2:]
    for t, x in seen.calls:
        alpha, scale = schedule.alphas_cumprod[t], schedule.scale[t]
        expected = alpha.sqrt() * scale * drawn(2) + (1 - alpha).sqrt() * drawn(1)
        same = torch.isclose(x, expected, atol=1e-5, rtol=1e-5)
        # Free at timestep 800 and at 400, but the state they start from is still the reference's.
        assert bool(same[:, :, 1:].all()) == (t + 1 >= 400)
        assert bool(same[:, :, 0].all()) == (t + 1 >= 800)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("ending", ["clean", "published"])
def test_what_may_not_change_is_the_reference(name: str, ending: str) -> None:
    free = torch.ones(1, 1, *SHAPE[2:])
    free[..., 0] = 0
    given = reference(Clocks(1000, 1000), free=free)
    latents, _ = sampled(name, given, 1.0, ending)
    assert torch.equal(latents[..., 0], given.latents[..., 0])
    assert not torch.isclose(latents[..., 1], given.latents[..., 1]).any()


def test_a_reference_that_is_never_released_is_the_result() -> None:
    mask = torch.zeros(1, 1, *SHAPE[2:])
    latents, seen = sampled("512", reference(Clocks(), mask, mask))
    assert torch.equal(latents, drawn(2))
    assert seen.calls == []
