"""Until when each place of a video is held to a reference: sampling by several clocks.

Sampling begins from the noised reference. A place stays the reference under noise of the step's
level until the timestep of its release, then it is sampled freely.
Source: Time-to-Move (arXiv 2511.08633), dual-clock denoising; docs/motion.md#two-clocks.

Timesteps count from the clean end, 1 to 1000, as a sampler's `start_timestep` does: the schedule's
entry `t` is timestep `t + 1`.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor

ALL = 1000


class Clocks:
    """When the parts of a video are released, in timesteps 1 to 1000.

    weak: of what nobody moved. strong: of what was moved, at most `weak`. strength: 1 as it stands,
    0 releases all from the start: the plain run. Raises ValueError for values out of range.
    """

    def __init__(self, weak: int = 940, strong: int = 860, strength: float = 1.0):
        if not 1 <= strong <= weak <= ALL:
            raise ValueError(
                f"The moved part is held down to timestep {strong}, the rest to {weak}; "
                f"choose 1 to {ALL}, the first at most as large as the second."
            )
        if not 0 <= strength <= 1:
            raise ValueError(f"strength is {strength}; choose 0 to 1.")
        self.weak, self.strong, self.strength = weak, strong, strength


def release_timesteps(clocks: Clocks, moved: Tensor, free: Tensor | None = None) -> Tensor:
    """The timestep at which each place is released: float32 whole numbers, shape of `moved`.

    moved: 1 where the reference shows the motion, 0 elsewhere; between, in proportion.
    free: 1 where the video may change, 0 where it stays the reference for good (release 0);
        between, the later the smaller. None is 1 everywhere.
    """
    release = clocks.weak - moved.float().clamp(0, 1) * (clocks.weak - clocks.strong)
    if free is not None:
        release = release * free.float().clamp(0, 1)
    return (ALL - clocks.strength * (ALL - release)).round()


def held(release: Tensor, timestep: int | Tensor) -> Tensor:
    """Where the reference is held in the step that starts at the schedule's entry `timestep`.

    release: of `release_timesteps`. Returns booleans of its shape.
    """
    return timestep + 1 > release


def steps_to_skip(release: Tensor, timesteps: Sequence[int]) -> int:
    """How many first steps show nothing but the noised reference.

    release: of `release_timesteps`. timesteps: the schedule's entries at which steps start.
    """
    last = float(release.max())
    return sum(1 for _ in takewhile(lambda timestep: timestep + 1 > last, timesteps))


class Reference(NamedTuple):
    """A reference video for sampling in plain PyTorch.

    latents: `[B or 1, 4, T, h, w]`, times 0.18215; what the methods take and return has this shape,
    too. release: `[B or 1, 1, T, h, w]`, from `release_timesteps`.
    """

    latents: Tensor
    release: Tensor

    def noised(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """The reference under unit `noise` of level `sigma`, in the variance-exploding state."""
        return self.latents + sigma * noise

    def hold(self, y: Tensor, sigma: Tensor, timestep: int, noise: Tensor) -> Tensor:
        """The state `y` with what is still held in place."""
        return torch.where(held(self.release, timestep), self.noised(sigma, noise), y)

    def keep(self, clean: Tensor, timestep: int) -> Tensor:
        """A clean prediction with what is still held in place."""
        return torch.where(held(self.release, timestep), self.latents, clean)

    def finish(self, latents: Tensor) -> Tensor:
        """The sampled latents with what is never released in place."""
        return torch.where(self.release <= 0, self.latents, latents)
