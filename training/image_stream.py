"""An image stream for a text-to-video model: what the stages of the recipe then train.

At first the model predicts what it did before: the new values of the image attention
and the new input channels are zero. Source: paper sections 3.2 and 3.3.
"""

from collections.abc import Mapping

import torch
from accelerate.utils import set_seed
from torch import Tensor

from dc_model.checkpoint.detect import HeadDims, detect_unet_arch
from dc_model.checkpoint.layout import CheckpointParts, shapes
from dc_model.frames import QUERIES_PER_FRAME
from dc_model.projection import ProjectionArch, Resampler
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import UNetArch

FIRST_CONVOLUTION = "input_blocks.0.0.weight"
CONCAT_CHANNELS = 4


def add_image_stream(parts: CheckpointParts, num_frames: int, seed: int, heads: HeadDims) -> None:
    """Add to the U-Net and the query transformer what they lack, in place.

    num_frames: frames that get image tokens of their own. The image tower must be there. heads: as
    the file states their widths.
    """
    arch = detect_unet_arch(shapes(parts.unet), heads.unet)
    if arch.in_channels == CONCAT_CHANNELS:
        weight = parts.unet[FIRST_CONVOLUTION]
        extra = torch.zeros(weight.shape[0], CONCAT_CHANNELS, *weight.shape[2:]).to(weight)
        parts.unet[FIRST_CONVOLUTION] = torch.cat([weight, extra], dim=1)
    if not arch.image_cross_attention:
        parts.unet |= _image_attention(parts.unet, arch)
    if not parts.projector:
        vision = parts.image_encoder["model.visual.class_embedding"]
        parts.projector = _query_transformer(len(vision), arch.context_dim, num_frames, seed)


def _image_attention(unet: Mapping[str, Tensor], arch: UNetArch) -> dict[str, Tensor]:
    """Keys as the text attention's own, values zero: nothing is read at first."""
    with_images = arch._replace(image_cross_attention=True)
    names = DynamiCrafterUNet(with_images, device="meta").state_dict().keys() - unet.keys()
    text_keys = {name: unet[name.replace("_ip.", ".")] for name in names if "_ip." in name}
    return {n: t.clone() if "to_k" in n else torch.zeros_like(t) for n, t in text_keys.items()}


def _query_transformer(
    embedding_dim: int, output_dim: int, num_frames: int, seed: int
) -> dict[str, Tensor]:
    arch = ProjectionArch(
        num_latents=num_frames * QUERIES_PER_FRAME,
        embedding_dim=embedding_dim,
        output_dim=output_dim,
    )
    with torch.random.fork_rng(devices=[]):
        set_seed(seed)  # PyTorch's layers draw their start from the global state.
        projector = Resampler(arch)
    projector.reset_parameters(torch.Generator().manual_seed(seed))
    return projector.state_dict()
