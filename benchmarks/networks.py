"""The networks at their real size, with random weights: nothing is downloaded."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from dc_model.encoders.autoencoder import Autoencoder, AutoencoderArch
from dc_model.encoders.clip import Towers, TowersArch
from dc_model.projection import ProjectionArch, Resampler
from dc_model.unet.ops import Attention, sdpa
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import UNetArch

Network = TypeVar("Network", bound=nn.Module)
# Random values that are laid out again and again: drawing 1.4 billion takes longer than a call.
_POOL = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """How wide and how deep each network is; the defaults are the published ones."""

    unet: UNetArch = field(default_factory=UNetArch)
    projection: ProjectionArch = field(default_factory=ProjectionArch)
    towers: TowersArch = field(
        default_factory=lambda: TowersArch(
            text_width=1024, text_layers=24, vision_width=1280, vision_layers=32
        )
    )
    vae: AutoencoderArch = field(
        default_factory=lambda: AutoencoderArch(
            channels=128, channel_mult=(1, 2, 4, 4), num_res_blocks=2
        )
    )

    def of_size(self, name: str) -> "Networks":
        """Of a published size: the smallest has learned gates."""
        return replace(self, unet=self.unet._replace(learnable_image_scale=name == "256"))

    def make_unet(self, where: "Where", attention: Attention = sdpa) -> DynamiCrafterUNet:
        """The U-Net."""
        return build(lambda: DynamiCrafterUNet(self.unet, attention=attention), where)

    def make_projector(self, where: "Where") -> Resampler:
        """The query transformer."""
        return build(lambda: Resampler(self.projection), where)

    def make_towers(self, where: "Where") -> Towers:
        """CLIP's towers."""
        towers = build(lambda: Towers(self.towers), where)
        towers.text.mask.fill_(float("-inf")).triu_(1)  # type: ignore[operator]
        return towers

    def make_vae(self, where: "Where") -> Autoencoder:
        """Stable Diffusion's VAE."""
        return build(lambda: Autoencoder(self.vae), where)


@dataclass(frozen=True, slots=True)
class Where:
    """Device and type that a network computes in."""

    device: torch.device
    dtype: torch.dtype

    def randn(self, *shape: int, seed: int = 0) -> Tensor:
        """Unit noise, the same on every device."""
        draw = torch.Generator().manual_seed(seed)
        return torch.randn(shape, generator=draw).to(self.device, self.dtype)


def build(make: Callable[[], Network], where: Where) -> Network:
    """A network for inference whose signals neither vanish nor overflow."""
    with torch.device("meta"):
        network = make()
    network = network.to(where.dtype).to_empty(device=where.device)
    pool = where.randn(_POOL)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                _tile(parameter, pool * parameter[0].numel() ** -0.5)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return network.eval().requires_grad_(False)


def _tile(parameter: Tensor, pool: Tensor) -> None:
    flat = parameter.view(-1)
    whole = len(flat) // len(pool) * len(pool)
    flat[:whole].view(-1, len(pool)).copy_(pool.expand(whole // len(pool), -1))
    flat[whole:].copy_(pool[: len(flat) - whole])
