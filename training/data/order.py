"""Which clip a sample takes and what seeds its random draws: pure functions of the sample number.

Sample numbers count over the whole run and over all processes, so a resumed run and a run on
another number of processes see exactly the same samples.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import Sampler


def sample_seed(seed: int, sample: int, purpose: int = 0) -> int:
    """A 63-bit seed for one use (`purpose`) of one sample."""
    state = np.random.SeedSequence((seed, sample, purpose)).generate_state(2, np.uint32)
    return (int(state[0]) << 31) ^ int(state[1])


def sample_generator(seed: int, sample: int, purpose: int = 0) -> torch.Generator:
    """The CPU generator of one use of one sample."""
    return torch.Generator().manual_seed(sample_seed(seed, sample, purpose))


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch, length)).permutation(length)


def item_of(seed: int, sample: int, length: int) -> int:
    """The data item that a sample takes: every item once per epoch, each epoch in its own order."""
    if length < 1:
        raise ValueError("The data set is empty; check data.path.")
    epoch, position = divmod(sample, length)
    return int(_permutation(seed, epoch, length)[position])


class MicroBatches(Sampler[list[int]]):
    """Sample numbers of one process, a list per micro-batch, from `first_step` on, endlessly.

    A step has `accumulate * processes * batch_size` samples in a row.
    """

    def __init__(
        self, batch_size: int, accumulate: int, process: int, processes: int, first_step: int = 0
    ):
        self.batch_size, self.accumulate = batch_size, accumulate
        self.process, self.processes = process, processes
        self.first_step = first_step

    def __iter__(self) -> Iterator[list[int]]:
        micro = self.first_step * self.accumulate
        while True:
            start = (micro * self.processes + self.process) * self.batch_size
            yield list(range(start, start + self.batch_size))
            micro += 1
