"""The KL autoencoder in the key layout of Stable Diffusion's (`first_stage_model.`), any width.

Source: docs/method.md#latents; Rombach et al. 2022, "High-Resolution Image Synthesis".
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LATENT_SCALE = 0.18215
GROUPS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderArch:
    """Widths of the autoencoder. `channels` must be a multiple of 32 (GroupNorm)."""

    channels: int = 32
    channel_mult: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 1
    z_channels: int = 4


def detect_autoencoder(shapes: Mapping[str, tuple[int, ...]]) -> AutoencoderArch:
    """The widths from key -> shape, keys without prefix. Raises KeyError if a key is missing."""
    channels = shapes["encoder.conv_in.weight"][0]
    levels, blocks = (
        1
        + max(
            int(k.split(".")[i]) for k in shapes if k.startswith("encoder.down.") and ".block." in k
        )
        for i in (2, 4)
    )
    widths = (shapes[f"encoder.down.{i}.block.{blocks - 1}.conv2.weight"][0] for i in range(levels))
    return AutoencoderArch(
        channels=channels,
        channel_mult=tuple(width // channels for width in widths),
        num_res_blocks=blocks,
        z_channels=shapes["decoder.conv_in.weight"][1],
    )


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = _norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = (
            nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (x if self.nin_shortcut is None else self.nin_shortcut(x)) + h


class AttnBlock(nn.Module):
    """Single-head attention over all positions."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = _norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (f(h).flatten(2).transpose(1, 2) for f in (self.q, self.k, self.v))  # [B, HW, C]
        out = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.proj_out(out.transpose(1, 2).reshape(x.shape))  # [B, C, H, W]


class _Level(nn.Module):
    """The residual blocks of one resolution; the attribute names are the checkpoint's."""

    def __init__(self, blocks: list[nn.Module], **resample: nn.Module):
        super().__init__()
        self.block = nn.ModuleList(blocks)
        for name, module in resample.items():
            self.add_module(name, module)


class _Conv(nn.Module):
    def __init__(self, channels: int, *, stride: int = 1):
        super().__init__()
        padding = 1 if stride == 1 else 0
        self.conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=padding)


class _Middle(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    def __init__(self, arch: AutoencoderArch):
        super().__init__()
        channels = arch.channels
        self.conv_in = nn.Conv2d(3, channels, 3, padding=1)
        self.down = nn.ModuleList()
        for level, mult in enumerate(arch.channel_mult):
            blocks: list[nn.Module] = []
            for _ in range(arch.num_res_blocks):
                blocks.append(ResnetBlock(channels, arch.channels * mult))
                channels = arch.channels * mult
            last = level == len(arch.channel_mult) - 1
            resample = {} if last else {"downsample": _Conv(channels, stride=2)}
            self.down.append(_Level(blocks, **resample))
        self.mid = _Middle(channels)
        self.norm_out = _norm(channels)
        self.conv_out = nn.Conv2d(channels, 2 * arch.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            for block in level.block:  # type: ignore[union-attr]
                h = block(h)
            if hasattr(level, "downsample"):
                h = level.downsample.conv(F.pad(h, (0, 1, 0, 1)))  # type: ignore[union-attr]
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    def __init__(self, arch: AutoencoderArch):
        super().__init__()
        channels = arch.channels * arch.channel_mult[-1]
        self.conv_in = nn.Conv2d(arch.z_channels, channels, 3, padding=1)
        self.mid = _Middle(channels)
        levels: list[nn.Module] = []
        for level, mult in reversed(list(enumerate(arch.channel_mult))):
            blocks: list[nn.Module] = []
            for _ in range(arch.num_res_blocks + 1):
                blocks.append(ResnetBlock(channels, arch.channels * mult))
                channels = arch.channels * mult
            levels.insert(0, _Level(blocks, **({"upsample": _Conv(channels)} if level else {})))
        self.up = nn.ModuleList(levels)
        self.norm_out = _norm(channels)
        self.conv_out = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            for block in level.block:  # type: ignore[union-attr]
                h = block(h)
            if hasattr(level, "upsample"):
                h = F.interpolate(h, scale_factor=2.0, mode="nearest")
                h = level.upsample.conv(h)  # type: ignore[union-attr]
        return self.conv_out(F.silu(self.norm_out(h)))


class Autoencoder(nn.Module):
    """Images in [-1, 1] to unscaled latents at an eighth of the size, and back."""

    def __init__(self, arch: AutoencoderArch | None = None):
        super().__init__()
        self.arch = arch or AutoencoderArch()
        z = self.arch.z_channels
        self.encoder = Encoder(self.arch)
        self.decoder = Decoder(self.arch)
        self.quant_conv = nn.Conv2d(2 * z, 2 * z, 1)
        self.post_quant_conv = nn.Conv2d(z, z, 1)

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: `[B, 3, H, W]`. Returns the posterior's mean and log-variance, `[B, 4, h, w]`."""
        mean, logvar = self.quant_conv(self.encoder(images)).chunk(2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)

    def encode(self, images: Tensor) -> Tensor:
        """The posterior's mean times 0.18215, as the U-Net sees it. `[B, 4, h, w]`."""
        return self.moments(images)[0] * LATENT_SCALE

    def sample(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A posterior sample times 0.18215; the noise is drawn on the CPU, as published."""
        mean, logvar = self.moments(images)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        return (mean + torch.exp(0.5 * logvar) * noise) * LATENT_SCALE

    def decode(self, latents: Tensor) -> Tensor:
        """latents: `[B, 4, h, w]`, scaled by 0.18215. Returns images `[B, 3, H, W]`."""
        return self.decoder(self.post_quant_conv(latents / LATENT_SCALE))

    @torch.no_grad()
    def fold_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Rescale the latent space so that 0.18215 z has mean 0 and std 1 in every channel.

        mean, std: `[4]`, of the unscaled latents now. The decoded images do not change: what
        `quant_conv` gains, `post_quant_conv` undoes.
        """
        z = self.arch.z_channels
        gain = 1.0 / (std * LATENT_SCALE)
        quant, post = self.quant_conv, self.post_quant_conv
        assert quant.bias is not None and post.bias is not None
        quant.weight[:z] *= gain[:, None, None, None]
        quant.bias[:z] = (quant.bias[:z] - mean) * gain
        quant.bias[z:] += 2 * gain.log()
        post.bias += post.weight[:, :, 0, 0] @ mean
        post.weight /= gain[None, :, None, None]
