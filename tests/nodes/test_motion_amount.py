"""Motion Amount: the given model at 0, and the gates of a clone elsewhere."""

from types import SimpleNamespace
from typing import Any

import pytest
from pack.dc_model.variants import VARIANTS, UNetArch
from pack.nodes import motion_amount
from pack.nodes.checks import InputError
from pack.nodes.motion_amount import dial


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = SimpleNamespace(variant=VARIANTS["512"], arch=UNetArch())
    monkeypatch.setattr(motion_amount, "require_model", lambda given: given)
    monkeypatch.setattr(motion_amount, "scale_gates", lambda *given: given)
    return made


@pytest.mark.parametrize("means", ["all", "speed", "lambda", "start"])
def test_0_is_the_model_as_it_is(model: Any, means: str) -> None:
    assert dial(model, 0.0, means) == (model, 0, 1000)


def test_more_motion_sets_all_three(model: Any) -> None:
    assert dial(model, 1.0, "all") == ((model, 1.0, 0.5, ""), 15, 940)


def test_what_the_model_lacks_is_left_or_refused(model: Any) -> None:
    """A text-to-video model has no lambda, and the first one no speed."""
    model.arch = UNetArch(in_channels=4, image_cross_attention=False, speed_condition=False)
    assert dial(model, 1.0, "all") == (model, 15, 940)
    for means in ("lambda", "speed"):
        with pytest.raises(InputError, match=f"This model has no {means}; set means to all"):
            dial(model, 1.0, means)
        assert dial(model, 0.0, means) == (model, 0, 1000)


def test_without_lambda_the_model_stays(model: Any) -> None:
    assert dial(model, -1.0, "speed") == (model, 30, 1000)
