"""The trained parts, U-Net and query transformer, as one module, and how they start."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dc_model.projection import Resampler
from dc_model.unet.attention import IMAGE_STRENGTHS
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.vdg import join

from .dropout import seed_dropout

# Layers that start at zero, so that a new block or input changes nothing at first.
ZERO_ENDINGS = ("temopral_conv.conv4.3", "out_layers.3", "fps_embedding.2", "out.2")


def eager_attention_on_cpu(
    q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: Mapping[str, Any]
) -> Tensor:
    """`dc_model.unet.ops.Attention` whose backward is fast on CPUs.

    PyTorch's own fused attention takes a third of a small model's CPU training step.
    """
    del transformer_options
    if q.device.type != "cpu":
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).flatten(-2)
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, h, N, D]
    weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).softmax(dim=-1)
    return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(-2)  # [B, N, h*D]


class VideoModel(nn.Module):
    """U-Net and query transformer P; `forward` is one prediction."""

    def __init__(self, unet: DynamiCrafterUNet, projector: Resampler | None):
        super().__init__()
        self.unet = unet
        self.projector = projector
        # Factors of the image attention's gate, one per spatial transformer; None = all 1.
        self.image_strengths: tuple[float, ...] | None = None

    def forward(
        self,
        noisy: Tensor,
        concat: Tensor | None,
        timesteps: Tensor,
        text: Tensor,
        image_tokens: Tensor | None,
        speed: Tensor,
        dropout_seeds: Sequence[int] | None = None,
    ) -> Tensor:
        """noisy, concat: `[B, 4, T, h, w]`; text: `[B, 77, C]`; image_tokens: `[B, 257, D]`.

        dropout_seeds: one for each sample, so that its masks do not depend on its batch.

        A model with concat input gets zeros where there is none.
        """
        seed_dropout(self, dropout_seeds)
        if self.unet.arch.takes_image:
            noisy = join(noisy, concat)  # [B, 8, T, h, w]
        context = None
        if image_tokens is not None and self.projector is not None:
            context = self.projector(image_tokens)
        options = {IMAGE_STRENGTHS: self.image_strengths}
        return self.unet(noisy, timesteps, text, context, speed, transformer_options=options)


@torch.no_grad()
def initialize(model: VideoModel, generator: torch.Generator) -> None:
    """Random start: PyTorch's own, zero for residual ends and for the concat channels."""
    for name, module in model.unet.named_modules():
        zero = name.endswith(ZERO_ENDINGS) or name.split(".")[-1] == "proj_out"
        if zero and isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            for parameter in module.parameters(recurse=False):
                parameter.zero_()
    if model.projector is not None:
        model.projector.reset_parameters(generator)
