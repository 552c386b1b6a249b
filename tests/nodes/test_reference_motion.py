"""Reference Motion: what reaches the sampler, and the soft border."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fakes import FakeVAE
from pack.dc_model.motion.clocks import Clocks
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
    clone = follow(model, FakeVAE(), reference, clocks, **options)
    assert model.model_options == {"transformer_options": {"other": 1}}
    assert clone.model_options["transformer_options"]["other"] == 1
    return clone.model_options["transformer_options"][keys.REFERENCE]


def test_the_reference_is_encoded_and_followed_everywhere() -> None:
    found = followed(torch.rand(3, 16, 24, 3))
    assert found.latents.shape == (3, 4, 2, 3)
    assert found.clocks == Clocks(900, 500)
    assert float(found.moved.min()) == 1
    assert found.free is None


def test_one_image_shows_no_motion() -> None:
    """It is what stays, so all that may move is sampled from the start."""
    found = followed(torch.rand(1, 16, 16, 3), clocks=Clocks(900, 500, 0.5))
    assert found.clocks == Clocks(1000, 1000, 0.5)


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
