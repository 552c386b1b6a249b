"""Intervals: their parts by definition, and how often they hold the truth where it is known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from public_distances import two_sets
from torch import Tensor

from dc_model.metrics.fvd import frechet_distance, kernel_distance
from evaluation.intervals import (
    at_endless_clips,
    curve,
    draw_counts,
    frechet_of_draws,
    kernel_of_draws,
    of_mean,
    reflected,
    studentized,
)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_draw_is_the_distance_of_the_clips_drawn():
    real, made = normal(30, 5, seed=0), normal(30, 5, seed=1) * 1.4 + 0.3
    counts = draw_counts(30, 4, seed=2)
    found = frechet_of_draws(real, made, counts)
    for row, value in zip(counts, found, strict=True):
        picked = torch.repeat_interleave(torch.arange(30), row.long())
        expected = frechet_distance(real[picked], made[picked])
        assert float(value) == pytest.approx(expected, rel=1e-8)


def test_the_divisor_n_is_that_of_population_covariances():
    """By SciPy's matrix root of NumPy's covariances."""
    from scipy import linalg

    real, made = normal(40, 4, seed=3), normal(40, 4, seed=4) * 1.5
    one, two = (np.cov(x.numpy(), rowvar=False, bias=True) for x in (real, made))
    mean = (real.mean(0) - made.mean(0)).square().sum().item()
    root = np.real(linalg.sqrtm(one @ two))
    expected = mean + np.trace(one) + np.trace(two) - 2 * np.trace(root)
    found = frechet_of_draws(real, made, torch.ones(1, 40, dtype=torch.float64), divisor=0)
    assert float(found) == pytest.approx(expected, rel=1e-8)


def test_without_drawing_kvd_is_the_kernel_distance():
    real, made = normal(20, 6, seed=5), normal(20, 6, seed=6) + 0.4
    found = kernel_of_draws(real, made, torch.ones(1, 20, dtype=torch.float64))
    assert float(found.values) == pytest.approx(kernel_distance(real, made), rel=1e-10)


def test_the_error_of_kvd_is_its_spread_over_sets():
    sets = [(normal(200, 3, seed=i), normal(200, 3, seed=1000 + i) * 1.3) for i in range(60)]
    whole = torch.ones(1, 200, dtype=torch.float64)
    results = [kernel_of_draws(*pair, whole) for pair in sets]
    spread = np.std([float(r.values) for r in results], ddof=1)
    mean_error = np.mean([float(r.errors()) for r in results])
    assert mean_error == pytest.approx(spread, rel=0.25)


def test_of_a_mean_is_students():
    """A table's value: 2.776 for five values and 95 %."""
    found = of_mean([1.0, 2.0, 3.0, 4.0, 5.0], 0.95)
    half = 2.7764451 * math.sqrt(2.5 / 5)
    assert (found.low, found.value, found.high) == pytest.approx((3 - half, 3, 3 + half), abs=1e-6)
    assert of_mean([2.0], 0.95).low is None


def kernel_truth(dimensions: int, scale: float, shift: float) -> float:
    """The squared MMD of N(0, 1) and N(shift, scale^2) in every dimension under (x.y / D + 1)^3, by
    expanding the cube: E (x.y)^2 and E (x.y)^3 of independent x and y from their moments."""

    def expected(first: tuple[float, float], second: tuple[float, float]) -> float:
        (m, s), (n, t) = first, second
        # Of one product x y: mean, second and third moment.
        one = m * n
        two = (m**2 + s**2) * (n**2 + t**2)
        three = (m**3 + 3 * m * s**2) * (n**3 + 3 * n * t**2)
        d = dimensions
        square = d * two + d * (d - 1) * one**2
        cube = d * three + 3 * d * (d - 1) * two * one + d * (d - 1) * (d - 2) * one**3
        return cube / d**3 + 3 * square / d**2 + 3 * one + 1

    a, b = (0.0, 1.0), (shift, scale)
    return expected(a, a) + expected(b, b) - 2 * expected(a, b)


# How alike true and made clips of a number are; a good system's are very alike.
LIKENESS = (0.6, 0.97)
# Features, clips, shift and scale of the made ones.
CASES = ((3, 60, 0.5, 1.3), (4, 40, 1.0, 1.5), (8, 100, 0.5, 1.3), (16, 30, 0.5, 1.5))


KEYS = ("fvd", "kvd", "mean", "kvd's difference")


def test_intervals_hold_the_truth_of_gaussians():
    """True and made clips of a number depend on one another, as a clip and its animation do."""
    hits: dict[tuple[str, float], list[bool]] = {
        (key, alike): [] for key in KEYS for alike in LIKENESS
    }
    generator = torch.Generator().manual_seed(0)
    for dimensions, clips, shift, scale in CASES:
        truths = {
            "fvd": dimensions * (shift**2 + (1 - scale) ** 2),
            "kvd": kernel_truth(dimensions, scale, shift),
            "mean": shift,
        }
        truths[KEYS[3]] = truths["kvd"] - kernel_truth(dimensions, 0.9 * scale, 0.8 * shift)
        counts = draw_counts(clips, 300, seed=1)
        whole = torch.ones(1, clips, dtype=torch.float64)
        for turn in range(76):
            alike = LIKENESS[turn % 2]
            true = torch.randn(3, clips, dimensions, generator=generator, dtype=torch.float64)
            real, *rest = true
            follows, other = (alike * real + (1 - alike**2) ** 0.5 * own for own in rest)
            made = scale * follows + shift
            unit = (follows + other) / (2 + 2 * alike**2) ** 0.5
            other = 0.9 * scale * unit + 0.8 * shift
            kernel, kernels = (kernel_of_draws(real, made, rows) for rows in (whole, counts))
            against, others = (kernel_of_draws(real, other, rows) for rows in (whole, counts))
            fvd = float(frechet_of_draws(real, made, whole))
            found = {
                "fvd": reflected(fvd, frechet_of_draws(real, made, counts), clips, 0.95),
                "kvd": studentized(kernel, kernels, 0.95),
                "mean": of_mean(made[:, 0].tolist(), 0.95),
                KEYS[3]: studentized(kernel - against, kernels - others, 0.95),
            }
            for key, estimate in found.items():
                assert estimate.low is not None and estimate.high is not None
                hits[key, alike].append(estimate.low <= truths[key] <= estimate.high)
    shares = {key: np.mean([hits[key, a] for a in LIKENESS]) for key in KEYS}
    shares["kvd of like clips"] = np.mean(hits["kvd", LIKENESS[1]])
    assert all(share >= 0.93 for share in shares.values()), shares


def test_more_clips_lead_to_the_true_distance():
    """FVD of 200 clips and 20 features is too high; the line to endless clips takes that off."""
    real, made = normal(200, 20, seed=7), normal(200, 20, seed=8) * 1.2
    sizes, means = curve(real, made, seed=1)
    assert sizes == (50, 75, 100, 150, 200)
    assert list(means) == sorted(means, reverse=True)
    truth = 20 * 0.2**2
    assert means[-1] > truth * 1.8
    assert at_endless_clips(sizes, means) == pytest.approx(truth, abs=0.4 * (means[-1] - truth))


def test_draws_follow_from_the_seed():
    assert torch.equal(draw_counts(10, 5, seed=1), draw_counts(10, 5, seed=1))
    assert not torch.equal(draw_counts(10, 5, seed=1), draw_counts(10, 5, seed=2))
    assert draw_counts(10, 5, seed=1).sum(1).tolist() == [10] * 5


def test_both_equal_public_packages(golden: Path):
    """Their values on the same features (`tests/support/public_distances.py`)."""
    public = json.loads((golden / "distances.json").read_text(encoding="utf-8"))
    real, made = (torch.from_numpy(part) for part in two_sets())
    whole = torch.ones(1, len(real), dtype=torch.float64)
    frechet = [frechet_distance(real, made), float(frechet_of_draws(real, made, whole))]
    kernel = [kernel_distance(real, made), float(kernel_of_draws(real, made, whole).values)]
    assert len(public["frechet"]) == 3
    for value in public["frechet"].values():
        assert frechet == pytest.approx([value] * 2, rel=1e-6)
    for value in public["kernel"].values():
        assert kernel == pytest.approx([value] * 2, rel=1e-6)
