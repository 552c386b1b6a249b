"""Exponential moving average of the trained parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .distributed import sliced_like


class Ema:
    """A float32 shadow of every parameter that trains, placed and sliced as the parameter is.

    The decay warms up as `min(decay, (1 + n) / (10 + n))` after n updates, so short runs are
    not averaged with their start.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.updates = 0
        self.shadow = {
            name: p.detach().float().clone()
            for name, p in module.named_parameters()
            if p.requires_grad
        }

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the shadow towards the parameters once, after an optimizer step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, p in module.named_parameters():
            if name in self.shadow:
                self.shadow[name].lerp_(p.detach().float(), 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        return {**self.shadow, "updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """From whole tensors. Raises KeyError when a parameter is missing."""
        self.updates = int(state["updates"])
        for name, value in self.shadow.items():
            value.copy_(sliced_like(value, state[name]))

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Within it the module has the averaged parameters."""
        parameters = {n: p for n, p in module.named_parameters() if n in self.shadow}
        kept = {name: p.detach().clone() for name, p in parameters.items()}
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(self.shadow[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, p in parameters.items():
                    p.copy_(kept[name])
