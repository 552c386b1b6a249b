"""The dial: what each variant's ends are, and that it rises evenly between them."""

import math

import pytest

from dc_model.motion.dial import MEANS, Amount, amount
from dc_model.variants import VARIANTS

# Published ranges, docs/method.md#published-settings; the end with more motion comes first.
ENDS = {
    "256": (6, 1),
    "512": (15, 30),
    "1024": (5, 15),
    "512_interp": (5, 30),
    "toon_512": (5, 30),
    "videocrafter2": (8, 28),
}


@pytest.mark.parametrize("means", MEANS)
@pytest.mark.parametrize("name", VARIANTS)
def test_0_changes_nothing(name: str, means: str) -> None:
    assert amount(VARIANTS[name], 0.0, means) == Amount(0, 1.0, 1000)


@pytest.mark.parametrize("name", ENDS)
def test_the_ends_are_the_published_ones(name: str) -> None:
    more, less = ENDS[name]
    assert amount(VARIANTS[name], 1.0) == Amount(more, 0.5, 940)
    assert amount(VARIANTS[name], -1.0) == Amount(less, 1.5, 1000)


@pytest.mark.parametrize("name", VARIANTS)
def test_more_is_never_less(name: str) -> None:
    variant = VARIANTS[name]
    found = [amount(variant, i / 10) for i in range(-10, 11) if i]
    sign = -1 if variant.speed_unit == "fps" else 1
    speeds = [sign * a.speed for a in found]
    assert speeds == sorted(speeds)
    assert [-a.middle for a in found] == sorted(-a.middle for a in found)
    assert [-a.start_timestep for a in found] == sorted(-a.start_timestep for a in found)
    low, high = variant.speed_range
    assert low <= variant.speed <= high


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ("speed", Amount(20, 1.0, 1000)),
        ("lambda", Amount(0, 0.75, 1000)),
        ("start", Amount(0, 1.0, 970)),
    ],
)
def test_one_means_leaves_the_others(means: str, expected: Amount) -> None:
    assert amount(VARIANTS["512"], 0.5, means) == expected


@pytest.mark.parametrize("motion", [1.1, -2.0, math.nan])
def test_motion_out_of_range_is_refused(motion: float) -> None:
    with pytest.raises(ValueError, match="choose -1 to 1"):
        amount(VARIANTS["512"], motion)


def test_unknown_means_are_refused() -> None:
    with pytest.raises(ValueError, match="means is 'fps'; choose one of all, speed"):
        amount(VARIANTS["512"], 0.5, "fps")
