"""Analytic-Init: start sampling from the data's own mean and spread, below the last timestep.

Starting at timestep M < 1000 leaves the network no time to copy the still image, but a plain
Gaussian is then the wrong start. The best Gaussian has the mean of the training latents and their
average variance. Source: Zhao et al. 2024, "Identifying and Solving Conditional Image Leakage in
Image-to-Video Diffusion Model"; docs/method.md#starting-below-the-last-timestep.
"""

import math
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoint.errors import CheckpointError, naming
from ..checkpoint.inspect import read_checkpoint
from ..checkpoint.layout import FLOATING

_EXPECTATION = "Expectation_X0"
_TRACE = "Tr_Cov_d"


class AnalyticInit(NamedTuple):
    """Mean and average variance of the training latents.

    expectation: `[1, 4, T, h, w]` float32, scaled latents. trace_per_dim: trace of their covariance
    divided by the number of dimensions.
    """

    expectation: Tensor
    trace_per_dim: float

    def resized(self, num_frames: int, height: int, width: int) -> "AnalyticInit":
        """The same statistics for videos of another length or latent size."""
        return AnalyticInit(
            resize_expectation(self.expectation, num_frames, height, width), self.trace_per_dim
        )


def analytic_init_noise(
    expectation: Tensor, trace_per_dim: float, alpha_bar: float, noise: Tensor
) -> Tensor:
    """The state to start sampling from, in place of unit noise: the shape of `noise`.

    expectation: broadcastable to `noise`, `[B, 4, T, h, w]`. alpha_bar: of the first timestep; 0
    gives `noise` itself.
    """
    variance = 1.0 - alpha_bar + alpha_bar * trace_per_dim
    return math.sqrt(alpha_bar) * expectation + math.sqrt(variance) * noise


def resize_expectation(expectation: Tensor, num_frames: int, height: int, width: int) -> Tensor:
    """Resample a mean video `[1, 4, T, h, w]` to another length and latent size.

    Axes that shrink are averaged, axes that grow are interpolated linearly.
    """
    target = (num_frames, height, width)
    current = tuple(expectation.shape[2:])
    if current == target:
        return expectation
    frames, rows, columns = (min(pair) for pair in zip(current, target, strict=True))
    averaged = F.adaptive_avg_pool3d(expectation, (frames, rows, columns))
    return F.interpolate(averaged, target, mode="trilinear", align_corners=False)


def read_analytic_init(path: str | Path) -> AnalyticInit:
    """Read a published init file: `.safetensors`, or a `torch.save` dictionary.

    Raises CheckpointError, which names the file, if it cannot be read, lacks the two statistics or
    holds them in another form.
    """
    with naming(path):
        content = read_checkpoint(path)
        trace = content.tensors.get(_TRACE)
        if trace is None and _TRACE in content.numbers:
            trace = torch.tensor(content.numbers[_TRACE])
        expectation = content.tensors.get(_EXPECTATION)
        if expectation is None or trace is None:
            raise CheckpointError(
                f"It holds no {_EXPECTATION} and {_TRACE} that can be read: expected two tensors, "
                f"or {_TRACE} as a floating number at the file's top level; save them so, or "
                "choose a published Analytic-Init file."
            )
        # A mapped file may change under the noise, which every run reads.
        expectation = expectation.clone()
        _check_statistics(expectation, trace)
        return AnalyticInit(expectation.float(), float(trace))


def _check_statistics(expectation: Tensor, trace: Tensor) -> None:
    shape = expectation.shape
    if len(shape) != 5 or shape[:2] != (1, 4) or not expectation.numel() or trace.numel() != 1:
        raise CheckpointError(
            f"It has {_EXPECTATION} of shape {list(shape)} and {_TRACE} of shape "
            f"{list(trace.shape)}; expected [1, 4, T, h, w] and one number: choose a published "
            "Analytic-Init file."
        )
    if expectation.dtype not in FLOATING or trace.dtype not in FLOATING:
        raise CheckpointError(
            f"It has {_EXPECTATION} of type {expectation.dtype} and {_TRACE} of type "
            f"{trace.dtype}; expected floating numbers: choose a published Analytic-Init file."
        )
    if not bool(expectation.float().isfinite().all()) or not 0 <= float(trace) < math.inf:
        raise CheckpointError(
            f"Its {_EXPECTATION} is not finite or its {_TRACE}, {float(trace)}, is not a variance: "
            "download the file again, or choose a published one."
        )


def measure_analytic_init(videos: Tensor) -> AnalyticInit:
    """The statistics of sample videos, as the published files hold those of the training set.

    videos: `[N, 4, T, h, w]`, scaled latents, N at least 2. Raises ValueError for fewer.
    """
    if len(videos) < 2:
        raise ValueError(
            f"The spread of {len(videos)} video cannot be measured; give at least 2 videos."
        )
    variance = videos.float().var(dim=0)  # [4, T, h, w]
    return AnalyticInit(videos.float().mean(dim=0, keepdim=True), float(variance.mean()))
