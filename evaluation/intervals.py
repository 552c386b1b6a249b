"""Intervals for the figures: how far they would move with other clips of the same data set.

A measure that is a mean over clips has Student's interval. FVD and KVD are not means: clips are
drawn again with replacement, the true and the made clip of a number together. FVD has the basic
(reflected) interval, `[2 t - q(1 - a/2), 2 t - q(a/2)]`, KVD the bootstrap-t. The draws follow from
the seed alone, so two systems are measured on the same ones, and their difference has an interval.

FVD falls as clips are added. Reflecting takes that off to first order: the interval is one of the
value at endless clips, which `at_endless_clips` estimates, and may lie below the FVD of the clips.
It needs half as many clips again as features: of 24 clips and 64 features it missed a known truth
40 times of 40, so there is none then.

Sources: Efron and Tibshirani 1993, chapters 12 and 13; Chong and Forsyth 2020, "Effectively
Unbiased FID and Inception Score".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dc_model.metrics.fvd import polynomial_kernel

# Covariances of this many values at once, 0.1 GB.
_AT_ONCE = 16_000_000
# Fewer clips draw the same few over and over.
MIN_CLIPS = 8
MIN_CLIPS_PER_FEATURE = 1.5
# Sets drawn at each number of clips for the curve.
CURVE_DRAWS = 8
CURVE_SHARES = (1 / 4, 3 / 8, 1 / 2, 3 / 4)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval. value: of the clips; low, high: None where there are too few."""

    value: float
    low: float | None = None
    high: float | None = None


def draw_counts(clips: int, resamples: int, seed: int) -> Tensor:
    """How often each clip is drawn: `[resamples, clips]`, float64; the rows sum to `clips`."""
    generator = np.random.default_rng((seed, clips, resamples))
    rows = generator.integers(clips, size=(resamples, clips))
    return torch.from_numpy(np.stack([np.bincount(r, minlength=clips) for r in rows])).double()


def frechet_of_draws(real: Tensor, made: Tensor, counts: Tensor, divisor: int = 1) -> Tensor:
    """The Frechet distance of every draw: `[N, D]` twice and counts `[R, N]` to `[R]`.

    divisor: 1 divides covariances by n - 1, 0 by n.
    """
    at_once = max(1, _AT_ONCE // real.shape[1] ** 2)
    parts = [_frechet(real, made, part, divisor) for part in counts.split(at_once)]
    return torch.cat(parts)


def _frechet(real: Tensor, made: Tensor, counts: Tensor, divisor: int) -> Tensor:
    mean, covariance = _moments(real.double(), counts, divisor)
    other_mean, other = _moments(made.double(), counts, divisor)
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()[:, None]) @ vectors.mT
    cross = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum(1)
    traces = covariance.diagonal(dim1=1, dim2=2).sum(1) + other.diagonal(dim1=1, dim2=2).sum(1)
    return ((mean - other_mean).square().sum(1) + traces - 2 * cross).clamp(min=0)


def _moments(values: Tensor, counts: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    """Means `[R, D]` and covariances `[R, D, D]` of weighted rows."""
    total = counts.sum(1, keepdim=True)
    centred = values - values.mean(0)
    mean = counts @ centred / total
    second = torch.stack([(centred * row[:, None]).T @ centred for row in counts])
    scatter = second - total[..., None] * mean[:, :, None] * mean[:, None]
    return mean + values.mean(0), scatter / (total[..., None] - divisor)


@dataclass(frozen=True, slots=True)
class KernelDraws:
    """KVD of every draw, `[R]`, and what each clip does to it, `[R, N]`; counts: the draws."""

    values: Tensor
    influence: Tensor
    counts: Tensor

    def __sub__(self, other: "KernelDraws") -> "KernelDraws":
        values, influence = self.values - other.values, self.influence - other.influence
        return KernelDraws(values, influence, self.counts)

    def errors(self) -> Tensor:
        """The standard error of every draw, `[R]`: that of a mean of pairs (Hoeffding 1948)."""
        clips = self.counts.sum(1)
        mean = (self.counts * self.influence).sum(1, keepdim=True) / clips[:, None]
        variance = (self.counts * (self.influence - mean).square()).sum(1) / (clips - 1)
        return 2 * (variance / clips).sqrt()


def kernel_of_draws(real: Tensor, made: Tensor, counts: Tensor) -> KernelDraws:
    """The unbiased kernel distance of every draw.

    A clip that is drawn twice is not compared with itself, or the squares that the unbiased
    estimator leaves out would come in again.
    """
    x, y = real.double(), made.double()
    within = _without_diagonal(polynomial_kernel(x, x) + polynomial_kernel(y, y))
    across = polynomial_kernel(x, y)
    clips = counts.sum(1)
    pairs = clips.square() - counts.square().sum(1)
    values = ((counts @ within) * counts).sum(1) / pairs
    values = values - 2 * ((counts @ across) * counts).sum(1) / clips.square()
    one_way = counts @ (within - _without_diagonal(across + across.T))
    return KernelDraws(values, one_way / (clips[:, None] - counts).clamp(min=1), counts)


def _without_diagonal(matrix: Tensor) -> Tensor:
    return matrix - torch.diag(matrix.diagonal())


def studentized(whole: KernelDraws, draws: KernelDraws, confidence: float) -> Estimate:
    """The bootstrap-t interval: draws are measured in their own standard errors, as KVD's tail is
    long to one side. whole: of the clips as they are, R = 1. Its tails are widened, too."""
    value, error = float(whole.values), float(whole.errors())
    spread = (draws.values - value) / draws.errors()
    tail = _widened_tail(confidence, int(whole.counts.sum()))
    high, low = np.nanquantile(spread.numpy(), (tail, 1 - tail))
    return Estimate(value, float(value - low * error), float(value - high * error))


def fvd_has_interval(features: Tensor) -> bool:
    """Whether `[N, D]` has enough clips for the reflected interval."""
    clips, width = features.shape
    return clips >= max(MIN_CLIPS, MIN_CLIPS_PER_FEATURE * width)


def reflected(value: float, draws: Tensor, clips: int, confidence: float) -> Estimate:
    """The basic bootstrap interval around a figure of so many clips, with widened tails."""
    tail = _widened_tail(confidence, clips)
    low, high = np.quantile(draws.numpy(), (1 - tail, tail))
    return Estimate(value, float(2 * value - low), float(2 * value - high))


def _widened_tail(confidence: float, clips: int) -> float:
    """The share to cut off at each end. As with Student's tails it is less for few clips, whose
    draws spread too little (Hesterberg 2015, "What Teachers Should Know About the Bootstrap")."""
    from scipy import stats

    widened = stats.t.ppf((1 - confidence) / 2, clips - 1) * (clips / (clips - 1)) ** 0.5
    return float(stats.norm.cdf(widened))


def of_mean(values: Sequence[float], confidence: float) -> Estimate:
    """Student's interval of a mean; a single value has none."""
    from scipy import stats

    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Estimate(mean)
    spread = float(np.std(values, ddof=1)) / count**0.5
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * spread
    return Estimate(mean, mean - half, mean + half)


def curve(
    real: Tensor, made: Tensor, seed: int, divisor: int = 1
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Numbers of clips, and the mean FVD of sets of as many, drawn without replacement."""
    clips, generator = len(real), np.random.default_rng((seed, len(real)))
    sizes = sorted({max(2, round(clips * share)) for share in CURVE_SHARES})
    means = []
    for size in sizes:
        counts = torch.zeros(CURVE_DRAWS, clips, dtype=torch.float64)
        for row in counts:
            row[torch.from_numpy(generator.permutation(clips)[:size])] = 1
        means.append(float(frechet_of_draws(real, made, counts, divisor).mean()))
    whole = torch.ones(1, clips, dtype=torch.float64)
    means.append(float(frechet_of_draws(real, made, whole, divisor)))
    return (*sizes, clips), tuple(means)


def at_endless_clips(sizes: Sequence[int], means: Sequence[float]) -> float:
    """Where a straight line over 1 / clips meets 0: the FVD without what few clips add."""
    slope_and_height = np.polynomial.polynomial.polyfit(1 / np.array(sizes), np.array(means), 1)
    return float(slope_and_height[0])
