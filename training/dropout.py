"""Dropout whose mask belongs to the sample: the same in any batch, process or repeated pass."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MIX = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio spreads neighbouring numbers


class SampleDropout(nn.Dropout):
    """Drops the same values of a sample wherever it is trained.

    place: the layer's number in the model. seeds: one for each sample of the batch, whose rows lie
    together along the first axis; None = PyTorch's own dropout.
    """

    def __init__(self, p: float, place: int):
        super().__init__(p)
        self.place = place
        self.seeds: Sequence[int] | None = None

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0 or self.seeds is None:
            return super().forward(input)
        rows = input.unflatten(0, (len(self.seeds), -1))
        # Fresh generators, since gradient checkpointing runs the layer twice.
        kept = [self._kept(seed, rows[0]) for seed in self.seeds]
        return (rows * (torch.stack(kept).to(rows.dtype) / (1 - self.p))).flatten(0, 1)

    def _kept(self, seed: int, like: Tensor) -> Tensor:
        generator = torch.Generator(like.device)
        generator.manual_seed((seed ^ (self.place * MIX)) % 2**63)
        return torch.rand(like.shape, generator=generator, device=like.device) >= self.p


def drop_by_sample(module: nn.Module) -> None:
    """Replace every dropout layer."""
    place = 0
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout) and not isinstance(child, SampleDropout):
                setattr(parent, name, SampleDropout(child.p, place))
                place += 1


def seed_dropout(module: nn.Module, seeds: Sequence[int] | None) -> None:
    """The seeds of the next pass, forward and backward."""
    for layer in module.modules():
        if isinstance(layer, SampleDropout):
            layer.seeds = seeds
