import numpy as np
import pytest

from research.small_world.ablations.statistics import Difference, difference, holm, verdict


def pairs(random: np.random.Generator, seeds: int, spread: tuple[float, float, float]):
    """Differences `[seeds, 60]` with mean 0.05: of seeds, of scenes, of both."""
    of_seed, of_scene, rest = spread
    return (
        0.05
        + of_seed * random.normal(size=(seeds, 1))
        + of_scene * random.normal(size=(1, 60))
        + rest * random.normal(size=(seeds, 60))
    )


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [(0.03, 0.2, 0.4), (0.0, 0.3, 0.3), (0.1, 0.2, 0.4)])
def test_the_interval_contains_the_truth_as_often_as_it_says(
    seeds: int, spread: tuple[float, float, float]
):
    random = np.random.default_rng(1)
    found = []
    for _ in range(200):
        values = pairs(random, seeds, spread)
        found.append(difference(values, np.zeros_like(values), draws=500))
    held = np.mean([f.low <= 0.05 <= f.high for f in found])
    # 0.95 - 2 standard errors of 200 runs, and a little for what three seeds cannot know.
    assert held > 0.9
    # It does not hold by being endless.
    deviation = (spread[0] ** 2 / seeds + spread[1] ** 2 / 60 + spread[2] ** 2 / 60 / seeds) ** 0.5
    assert np.mean([f.high - f.low for f in found]) < 2 * 2 * 1.96 * deviation


def test_without_an_effect_few_differences_are_called_one():
    random = np.random.default_rng(2)
    values = [pairs(random, 3, (0.03, 0.2, 0.4)) - 0.05 for _ in range(200)]
    called = [difference(v, np.zeros_like(v), draws=500).p < 0.05 for v in values]
    assert np.mean(called) < 0.08


def test_differences_by_value():
    first, second = np.full((3, 4), 2.0), np.full((3, 4), 0.5)
    found = difference(first, second, draws=99)
    # No draw is on the other side: 2 / 100.
    assert found == Difference(1.5, 1.5, 1.5, 0.02, 3)
    with pytest.raises(ValueError, match="both are"):
        difference(first, second[:2])


def test_seeds_that_disagree_widen_the_interval():
    agree = difference(np.array([[0.0, 2.0]] * 3), np.zeros((3, 2)))
    differ = difference(np.array([[0.0, 2.0], [2.0, 4.0], [-2.0, 0.0]]), np.zeros((3, 2)))
    assert agree.mean == differ.mean == 1
    assert differ.high - differ.low > agree.high - agree.low


def test_holm_by_value():
    # 0.01 x 3; 0.02 x 2; 0.03 x 1, but no less than the one before.
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("low", "high", "adjusted", "seeds", "expected"),
    [
        (0.10, 0.30, 0.01, 3, "more"),
        (-0.30, -0.10, 0.01, 3, "less"),
        (0.10, 0.30, 0.06, 3, "undecided"),
        (-0.04, 0.05, 0.60, 3, "no effect"),
        (0.01, 0.03, 0.01, 3, "no effect"),
        (-0.04, 0.06, 0.60, 3, "undecided"),
        (0.10, 0.30, 0.01, 2, "undecided"),
    ],
)
def test_verdicts(low: float, high: float, adjusted: float, seeds: int, expected: str):
    found = Difference((low + high) / 2, low, high, adjusted, seeds)
    assert verdict(found, adjusted, 0.05) == expected
