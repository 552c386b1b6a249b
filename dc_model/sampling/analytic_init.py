"""Analytic-Init: start sampling from the data's own mean and spread, below the last timestep.

Starting at timestep M < 1000 leaves the network no time to copy the still image, but a plain
Gaussian is then the wrong start. The best Gaussian has the mean of the training latents and their
average variance. Source: Zhao et al. 2024, "Identifying and Solving Conditional Image Leakage in
Image-to-Video Diffusion Model"; docs/method.md#starting-below-the-last-timestep.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ..checkpoint.detect import CheckpointError
from ..checkpoint.inspect import inspect_file, load_pickle

_EXPECTATION = "Expectation_X0"
_TRACE = "Tr_Cov_d"


@dataclass(frozen=True, eq=False)
class AnalyticInit:
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

    Raises ValueError if the file lacks the two statistics or holds them in another form.
    """
    path = Path(path)
    try:
        safe = inspect_file(path).format == "safetensors"
        content = load_file(path) if safe else load_pickle(path, mapped=False)
    except CheckpointError as error:
        raise CheckpointError(f"{path.name}: {error}") from error
    if not isinstance(content, dict) or not {_EXPECTATION, _TRACE} <= content.keys():
        raise ValueError(
            f"{path.name} holds no {_EXPECTATION} and {_TRACE}; choose a published Analytic-Init "
            "file."
        )
    expectation, trace = torch.as_tensor(content[_EXPECTATION]), torch.as_tensor(content[_TRACE])
    if expectation.ndim != 5 or len(expectation) != 1 or trace.numel() != 1:
        raise ValueError(
            f"{path.name} has {_EXPECTATION} of shape {list(expectation.shape)} and {_TRACE} of "
            f"shape {list(trace.shape)}; expected [1, 4, T, h, w] and one number."
        )
    return AnalyticInit(expectation.float(), float(trace))


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
