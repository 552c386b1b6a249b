"""Distances between two sets of features: Frechet (FVD) and polynomial-kernel MMD (KVD).

Features are `[N, D]`, a row for each clip; all sums are in float64 on the CPU. Sources: Unterthiner
et al. 2018, "Towards Accurate Generative Models of Video"; Binkowski et al. 2018, "Demystifying MMD
GANs" (the unbiased estimator and its kernel).
"""

from typing import NamedTuple

import torch
from torch import Tensor

MIN_CLIPS = 2


class Gaussian(NamedTuple):
    """Mean `[D]` and covariance `[D, D]` of a set of features, float64."""

    mean: Tensor
    covariance: Tensor


def fit_gaussian(features: Tensor) -> Gaussian:
    """Mean and unbiased covariance of `[N, D]`. Raises ValueError for fewer than two rows."""
    values = _checked(features)
    mean = values.mean(dim=0)
    centred = values - mean
    return Gaussian(mean, centred.T @ centred / (len(values) - 1))


def gaussian_distance(a: Gaussian, b: Gaussian) -> float:
    """`|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`, never negative.

    The trace of the root comes from the eigenvalues of `C1^(1/2) C2 C1^(1/2)`, which is symmetric,
    so singular covariances (fewer clips than features) need no correction. Raises ValueError for
    different numbers of features.
    """
    _require_equal_width(len(a.mean), len(b.mean))
    root = _square_root(a.covariance)
    eigenvalues = torch.linalg.eigvalsh(root @ b.covariance @ root)
    cross = eigenvalues.clamp(min=0).sqrt().sum()
    difference = a.mean - b.mean
    total = difference @ difference + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(float(total), 0.0)


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """FVD when the features `[N, D]` are I3D's: the Frechet distance of two fitted Gaussians.

    At least 0. Raises ValueError for fewer than two rows, and for different numbers of features.
    Source: Unterthiner et al. 2018.
    """
    return gaussian_distance(fit_gaussian(real), fit_gaussian(generated))


def polynomial_kernel(x: Tensor, y: Tensor, degree: int = 3) -> Tensor:
    """`(x . y / D + 1)^degree` of `[N, D]` and `[M, D]`: `[N, M]`."""
    return (x @ y.T / x.shape[1] + 1) ** degree


def kernel_distance(real: Tensor, generated: Tensor, degree: int = 3) -> float:
    """KVD when the features `[N, D]` are I3D's: the unbiased squared maximum mean discrepancy.

    It may be below zero. Raises ValueError for fewer than two rows, and for different numbers of
    features. Source: Binkowski et al. 2018.
    """
    x, y = _checked(real), _checked(generated)
    _require_equal_width(x.shape[1], y.shape[1])
    across = polynomial_kernel(x, y, degree).mean()
    return float(_mean_of_pairs(x, degree) + _mean_of_pairs(y, degree) - 2 * across)


def _mean_of_pairs(x: Tensor, degree: int) -> Tensor:
    """The kernel's mean over pairs of two different rows."""
    kernel = polynomial_kernel(x, x, degree)
    return (kernel.sum() - kernel.trace()) / (len(x) * (len(x) - 1))


def _square_root(matrix: Tensor) -> Tensor:
    """The symmetric root of a positive semi-definite matrix; rounding below zero counts as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _require_equal_width(first: int, second: int) -> None:
    if first != second:
        raise ValueError(
            f"The two sets have {first} and {second} features; use one extractor for both."
        )


def _checked(features: Tensor) -> Tensor:
    """`features` in float64 on the CPU, or ValueError."""
    if features.ndim != 2 or len(features) < MIN_CLIPS:
        raise ValueError(
            f"Features have shape {list(features.shape)}; expected [clips, features] with at least "
            f"{MIN_CLIPS} clips."
        )
    return features.detach().cpu().double()
