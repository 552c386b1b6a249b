"""Reference Motion: what reaches the sampler, and the soft border."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fakes import FakeVAE
from pack.dc_model.motion.clocks import Clocks
from pack.dc_model.motion.warp import grown
from pack.nodes.checks import InputError
from pack.nodes.host import keys
from pack.nodes.reference_motion import follow, softened
from torch import Tensor


class FakeModel(SimpleNamespace):
    def clone(self) -> "FakeModel":
        return FakeModel(model_options=dict(self.model_options))


def followed(reference: Tensor, **options: Any) -> Any:
    model = FakeModel(model_options={"transformer_options": {"other": 1}})
    clocks = options.pop("clocks", Clocks(900, 500))
    clone = follow(model, FakeVAE(), reference, clocks, **options).model
    assert model.model_options == {"transformer_options": {"other": 1}}
    assert clone.model_options["transformer_options"]["other"] == 1
    return clone.model_options["transformer_options"][keys.REFERENCE]


def test_the_reference_is_encoded_and_followed_everywhere() -> None:
    found = followed(torch.rand(3, 16, 24, 3))
    assert found.latents.shape == (3, 4, 2, 3)
    assert vars(found.clocks) == vars(Clocks(900, 500))
    assert float(found.moved.min()) == 1
    assert found.free is None


def test_one_image_shows_no_motion() -> None:
    """It is what stays, so all that may move is sampled from the start."""
    found = followed(torch.rand(1, 16, 16, 3), clocks=Clocks(900, 500, 0.5))
    assert vars(found.clocks) == vars(Clocks(1000, 1000, 0.5))


def test_the_border_is_soft_inside_alone() -> None:
    mask = torch.zeros(1, 40, 40)
    mask[:, 10:30, 10:30] = 1
    found = softened(mask, 8)
    assert torch.equal(softened(mask, 0), mask)
    assert bool((found[mask == 0] == 0).all())
    assert float(found[0, 20, 20]) == pytest.approx(1)
    row = found[0, 20, 10:20].tolist()
    assert row == sorted(row)
    assert 0 < row[1] < row[5] < 1


def test_a_wide_border_is_quick_and_the_mean_of_its_square() -> None:
    mask = torch.rand(2, 60, 50, generator=torch.Generator().manual_seed(0)).double()
    mask[:, :30] = 1
    padded = F.pad(grown(mask, -20)[:, None], (20,) * 4, mode="replicate")
    expected = F.avg_pool2d(padded, 41, stride=1)[:, 0]
    torch.testing.assert_close(softened(mask, 40), expected, atol=1e-6, rtol=0)
    started = time.process_time()
    softened(torch.ones(1, 200, 300), 512)
    assert time.process_time() - started < 5  # 20 where each place averages its square


def held(**options: Any) -> Tensor:
    model = FakeModel(model_options={})
    clocks = Clocks(900, 500, options.pop("strength", 1.0))
    return follow(model, FakeVAE(), torch.rand(1, 16, 24, 3), clocks, **options).held


def test_what_is_held_to_the_end_is_what_may_not_move() -> None:
    """For a picture to be laid over it: all of it outside, fading to the inside."""
    mask = torch.zeros(1, 16, 24)
    mask[:, 2:14, 4:20] = 1
    found = held(may_move=mask, soft_border=4)
    assert bool((found[mask == 0] == 1).all())
    assert float(found[0, 8, 12]) == pytest.approx(0)
    row = found[0, 8, 4:12].tolist()
    assert row == sorted(row, reverse=True)
    assert 0 < row[0] < 1
    assert torch.equal(held(may_move=mask, soft_border=0), 1 - mask)


@pytest.mark.parametrize("scale", [0.5, 4])
def test_the_border_counts_the_video_s_pixels(scale: float) -> None:
    mask = torch.zeros(1, 16, 24)
    mask[..., 8:] = 1
    other = F.interpolate(mask[None], scale_factor=scale, mode="nearest")[0]
    expected, found = (held(may_move=given, soft_border=8) for given in (mask, other))
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0)


def test_without_may_move_or_below_full_strength_nothing_is_held_to_the_end() -> None:
    nothing, right = torch.zeros(1, 16, 24), torch.zeros(1, 16, 24)
    right[..., 12:] = 1
    assert torch.equal(held(), nothing)
    assert torch.equal(held(may_move=right, strength=0.99), nothing)


@pytest.mark.parametrize("border", [0, 16])
def test_where_nothing_may_move_nothing_can_be_sampled(border: int) -> None:
    """The mask of a picture without transparency, and a border as wide as what may move."""
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:10, 4:10] = float(border > 0)
    with pytest.raises(InputError, match=f"border of {border} pixels, may_move lets nothing move"):
        followed(torch.rand(1, 16, 16, 3), may_move=mask, soft_border=border)


def test_a_second_reference_is_refused() -> None:
    """It would take the first one's place."""
    model = FakeModel(model_options={})
    clocks, picture = Clocks(900, 500), torch.rand(1, 16, 16, 3)
    once = follow(model, FakeVAE(), picture, clocks).model
    with pytest.raises(InputError, match="follows a reference already; take one Reference Motion"):
        follow(once, FakeVAE(), picture, clocks)


@pytest.mark.parametrize("name", ["mask", "may_move"])
def test_a_mask_of_another_picture_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="A mask has 64 x 64 pixels, the reference 64 x 32; make"):
        followed(torch.rand(3, 32, 64, 3), **{name: torch.ones(1, 64, 64)})


@pytest.mark.parametrize(
    ("shape", "masks", "found"),
    [
        ((3, 16, 16, 3), 2, "2 masks; expected 1 or 3"),
        ((3, 20, 16, 3), 1, "height is 20; choose a multiple of 8"),
    ],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], masks: int, found: str) -> None:
    with pytest.raises(InputError, match=found):
        followed(torch.rand(shape), mask=torch.ones(masks, 16, 16))
