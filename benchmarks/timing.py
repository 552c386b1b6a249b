"""Times of things that are run in turn, so a busy machine slows all of them alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

from .device import seconds


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of every repeat."""

    repeats: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.repeats)

    @property
    def spread(self) -> float:
        """From the fastest to the slowest, as a part of the median."""
        return (max(self.repeats) - min(self.repeats)) / self.median


def in_turn(
    runs: Mapping[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, Times]:
    """Every run `repeats` times; the order turns round each time."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats):
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            found[name].append(seconds(runs[name], device))
    return {name: Times(times) for name, times in found.items()}


def ratio(slow: Times, fast: Times) -> float:
    """How often `fast` runs while `slow` runs once: the median of the pairs."""
    pairs = zip(slow.repeats, fast.repeats, strict=True)
    return median(one / other for one, other in pairs)
