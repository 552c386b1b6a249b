"""The trained parts, U-Net and query transformer, with dropout by sample, and how they start."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dc_model import pipeline

from .dropout import seed_dropout

# Layers that start at zero, so a new block or input changes nothing at first.
ZERO_ENDINGS = ("temopral_conv.conv4.3", "out_layers.3", "fps_embedding.2", "out.2")


class VideoModel(pipeline.VideoModel):
    """The model as it is trained: dropout's masks do not depend on a sample's batch."""

    def forward(
        self, *inputs: Any, dropout_seeds: Sequence[int] | None = None, **named: Any
    ) -> Tensor:
        """inputs, named: of `pipeline.VideoModel`. dropout_seeds: one for each sample."""
        seed_dropout(self, dropout_seeds)
        return super().forward(*inputs, **named)


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
