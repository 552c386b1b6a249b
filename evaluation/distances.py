"""Distances between two sets of features: Frechet (FVD) and polynomial-kernel MMD (KVD).

NumPy in float64. Sources: Unterthiner et al. 2018, "Towards Accurate Generative Models of Video";
Binkowski et al. 2018, "Demystifying MMD GANs" (the unbiased estimator and its kernel).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Mean `[D]` and covariance `[D, D]` of a set of features."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def fit_gaussian(features: Features) -> Gaussian:
    """Mean and unbiased covariance of `[N, D]`. Raises ValueError for fewer than two rows."""
    _check(features)
    values = np.asarray(features, dtype=np.float64)
    covariance = np.cov(values, rowvar=False)
    return Gaussian(values.mean(axis=0), np.atleast_2d(covariance))


def _square_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric root of a positive semi-definite matrix; rounding below zero counts as 0."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def gaussian_distance(a: Gaussian, b: Gaussian) -> float:
    """`|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`, never negative.

    The trace of the root comes from the eigenvalues of `C1^(1/2) C2 C1^(1/2)`, which is symmetric,
    so singular covariances (fewer clips than features) need no correction.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"The two sets have {a.mean.shape[0]} and {b.mean.shape[0]} features; use one "
            "extractor for both."
        )
    root = _square_root(a.covariance)
    eigenvalues = np.linalg.eigvalsh(root @ b.covariance @ root)
    cross = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    difference = a.mean - b.mean
    total = difference @ difference + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross
    return float(max(total, 0.0))


def frechet_distance(real: Features, generated: Features) -> float:
    """FVD when the features are I3D's: the Frechet distance of two fitted Gaussians."""
    return gaussian_distance(fit_gaussian(real), fit_gaussian(generated))


def polynomial_kernel(x: Features, y: Features, degree: int = 3) -> NDArray[np.float64]:
    """`(x . y / D + 1)^degree`, `[N, M]`."""
    return (np.asarray(x, np.float64) @ np.asarray(y, np.float64).T / x.shape[1] + 1) ** degree


def polynomial_mmd(x: Features, y: Features, degree: int = 3) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy; it may be below zero."""
    _check(x)
    _check(y)
    n, m = len(x), len(y)
    within_x, within_y = polynomial_kernel(x, x, degree), polynomial_kernel(y, y, degree)
    across = polynomial_kernel(x, y, degree).mean()
    first = (within_x.sum() - np.trace(within_x)) / (n * (n - 1))
    second = (within_y.sum() - np.trace(within_y)) / (m * (m - 1))
    return float(first + second - 2 * across)


def kernel_distance(
    real: Features,
    generated: Features,
    *,
    subsets: int = 0,
    subset_size: int = 1000,
    seed: int = 0,
) -> float:
    """KVD when the features are I3D's. subsets: 0 uses all clips at once; else the mean over that
    many random subsets of both sets, drawn without replacement."""
    if subsets == 0:
        return polynomial_mmd(real, generated)
    size = min(subset_size, len(real), len(generated))
    random = np.random.default_rng(seed)
    values = [
        polynomial_mmd(
            real[random.choice(len(real), size, replace=False)],
            generated[random.choice(len(generated), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return float(np.mean(values))


def _check(features: Features) -> None:
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            f"Features have shape {list(features.shape)}; expected [clips, features] with at least "
            "2 clips."
        )
