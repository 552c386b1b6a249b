"""Low-rank adapters, saved under the keys that the stock LoraLoader looks for.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
"""

from typing import Any

import torch
from torch import Tensor, nn

from dc_model.checkpoint.layout import UNET_PREFIX
from dc_model.shown import shown

from .config import ConfigError, LoraConfig
from .distributed import gathered


class LoraLinear(nn.Module):
    """A frozen linear layer plus `alpha / rank * up(down(x))`; starts as the layer alone."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float, generator: torch.Generator):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.alpha = alpha
        self.lora_down = nn.Linear(base.in_features, rank, bias=False)
        self.lora_up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.kaiming_uniform_(self.lora_down.weight, a=5**0.5, generator=generator)
        nn.init.zeros_(self.lora_up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scale * self.lora_up(self.lora_down(x))


def add_lora(unet: nn.Module, config: LoraConfig, seed: int = 0) -> list[str]:
    """Replace every targeted linear layer; only the adapters train. Returns the layers' names.

    seed: of the adapters' random start. Raises ConfigError when no layer matches the targets.
    """
    unet.requires_grad_(False)
    names = [
        name
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(config.targets)
    ]
    if not names:
        raise ConfigError(
            f"lora.targets {shown(list(config.targets))} match no linear layer; give endings of "
            "names such as to_q."
        )
    generator = torch.Generator().manual_seed(seed)
    for name in names:
        parent_name, _, child = name.rpartition(".")
        parent = unet.get_submodule(parent_name)
        layer: Any = unet.get_submodule(name)
        adapter = LoraLinear(layer, config.rank, config.alpha, generator)
        setattr(parent, child, adapter)
    return names


def lora_tensors(unet: nn.Module) -> dict[str, Tensor]:
    """The adapters as `diffusion_model.LAYER.lora_{up,down}.weight` and `.alpha`."""
    prefix = UNET_PREFIX.removeprefix("model.")
    out = {}
    for name, module in unet.named_modules():
        if isinstance(module, LoraLinear):
            out[f"{prefix}{name}.lora_up.weight"] = gathered(module.lora_up.weight)
            out[f"{prefix}{name}.lora_down.weight"] = gathered(module.lora_down.weight)
            out[f"{prefix}{name}.alpha"] = torch.tensor(module.alpha)
    return out
