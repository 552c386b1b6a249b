"""The formulas of FVD and KVD against SciPy's matrix root and against known Gaussians."""

import numpy as np
import pytest
import torch
from torch import Tensor

from dc_model.metrics.fvd import (
    Gaussian,
    fit_gaussian,
    frechet_distance,
    gaussian_distance,
    kernel_distance,
    polynomial_kernel,
)

scipy_linalg = pytest.importorskip("scipy.linalg")


def samples(seed: int, count: int, dim: int, shift: float = 0.0) -> Tensor:
    random = np.random.default_rng(seed)
    mixed = random.standard_normal((count, dim)) @ random.standard_normal((dim, dim))
    return torch.from_numpy(mixed + shift)


def scipy_frechet(first: Tensor, second: Tensor) -> float:
    x, y = first.numpy(), second.numpy()
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy_linalg.sqrtm(c1 @ c2).real
    d = x.mean(0) - y.mean(0)
    return float(d @ d + np.trace(c1 + c2 - 2 * root))


def test_frechet_equals_scipy():
    x, y = samples(0, 300, 20), samples(1, 250, 20, shift=0.5)
    assert frechet_distance(x, y) == pytest.approx(scipy_frechet(x, y), rel=1e-8)


def test_frechet_of_single_precision_features_equals_scipy():
    x, y = samples(0, 300, 20).float(), samples(1, 250, 20, shift=0.5).float()
    expected = scipy_frechet(x.double(), y.double())
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)


def test_frechet_of_known_gaussians():
    eye = torch.ones(3, dtype=torch.float64)
    a = Gaussian(0 * eye, torch.diag(torch.tensor([1.0, 4.0, 9.0]) * eye))
    b = Gaussian(
        torch.tensor([1.0, 2.0, 2.0]) * eye, torch.diag(torch.tensor([4.0, 4.0, 1.0]) * eye)
    )
    # 9 from the means; (1-2)^2 + (2-2)^2 + (3-1)^2 from the standard deviations.
    assert gaussian_distance(a, b) == pytest.approx(14.0, rel=1e-12)


def test_frechet_of_drawn_gaussians_is_within_one_percent():
    random = np.random.default_rng(3)
    x = random.standard_normal((200_000, 3)) * [1, 2, 3]
    y = random.standard_normal((200_000, 3)) * [2, 2, 1] + [1, 2, 2]
    found = frechet_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert found == pytest.approx(14.0, rel=0.01)


def test_frechet_of_correlated_gaussians_is_within_one_percent():
    # Both covariances are s^2 (1 + r) along (1, 1) and s^2 (1 - r) across it.
    random = np.random.default_rng(4)
    turn = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    x = random.standard_normal((200_000, 2)) * [3.0, 1.0] @ turn
    y = random.standard_normal((200_000, 2)) * [1.0, 2.0] @ turn
    found = frechet_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert found == pytest.approx((3 - 1) ** 2 + (1 - 2) ** 2, rel=0.01)


def test_frechet_of_a_set_with_itself_is_zero_even_with_few_clips():
    x = samples(4, 8, 30)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-4)


def test_fit_gaussian_is_unbiased():
    g = fit_gaussian(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    assert g.mean.tolist() == [1.0, 0.0]
    assert g.covariance.tolist() == [[2.0, 0.0], [0.0, 0.0]]


def test_polynomial_kernel_by_value():
    k = polynomial_kernel(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 2.0]]))
    assert k.tolist() == [[(8 / 2 + 1) ** 3]]


def test_kernel_distance_equals_its_definition():
    x, y = samples(5, 7, 4), samples(6, 9, 4, shift=1.0)

    def k(a: Tensor, b: Tensor) -> float:
        return float(a @ b / 4 + 1) ** 3

    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(xx + yy - 2 * xy, rel=1e-10)


def expected_mmd(dim: int, shift: float) -> float:
    """The kernel's moments for N(0, I) against N(shift, I), in closed form."""
    m = dim * shift**2
    within = 1 + 3 / dim
    across = 1 + 3 * (dim + m) / dim**2
    second = (dim + 2 * m + m**2) / dim**2
    third = (m**3 + 3 * m * (dim + 2 * m) + 6 * m) / dim**3
    return within + (1 + 3 * m / dim + 3 * second + third) - 2 * across


def test_kernel_distance_of_known_gaussians_is_within_one_percent():
    random = np.random.default_rng(7)
    pairs = (torch.from_numpy(random.standard_normal((2, 1000, 16))) for _ in range(100))
    values = [kernel_distance(x, y + 1.0) for x, y in pairs]
    assert np.mean(values) == pytest.approx(expected_mmd(16, 1.0), rel=0.01)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"shape \[1, 4\].* at least 2 clips"):
        frechet_distance(torch.zeros(1, 4), torch.zeros(5, 4))
    with pytest.raises(ValueError, match="at least 2 clips"):
        kernel_distance(torch.zeros(5, 4), torch.zeros(4))
    for distance in (frechet_distance, kernel_distance):
        with pytest.raises(ValueError, match="4 and 3 features; use one extractor"):
            distance(samples(0, 5, 4), samples(0, 5, 3))


def test_frechet_of_equal_sets_never_falls_below_zero():
    """Rounding alone would, in about half of them."""
    for seed in range(20):
        features = samples(seed, 6, 32)
        assert frechet_distance(features, features) >= 0
