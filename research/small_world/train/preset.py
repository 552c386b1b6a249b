"""The demo model's dimensions and its encoders."""

from pathlib import Path

import torch
from accelerate.utils import set_seed
from safetensors.torch import load_file
from torch import Tensor, nn

from dc_model.checkpoint.layout import CheckpointParts
from dc_model.encoders.autoencoder import Autoencoder, detect_autoencoder
from dc_model.encoders.clip import Towers, detect_towers
from dc_model.preprocess import clip_preprocess
from dc_model.projection import ProjectionArch, Resampler
from dc_model.unet.ops import Operations, eager_attention_on_cpu
from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import UNetArch
from training.encoders import Encoders
from training.model import VideoModel, initialize
from training.vocabulary import tokenize

UNET = UNetArch(
    model_channels=64,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_levels=(True, True),
    head_dim=64,
    context_dim=64,
    # The published 8 x 64 heads would be a third of so small a model.
    init_attention=False,
    dropout=0.0,
)
NUM_GATES = 7  # spatial transformers, in the order of the forward pass
PROJECTOR = ProjectionArch(
    dim=64, depth=1, heads=1, num_latents=256, embedding_dim=80, output_dim=64
)


def new_model(
    seed: int,
    unet: UNetArch = UNET,
    projection: ProjectionArch = PROJECTOR,
    operations: Operations = nn,  # type: ignore[assignment]
) -> VideoModel:
    """The demo model at its random start."""
    with torch.random.fork_rng(devices=[]):
        # PyTorch's layers draw their start from the global state.
        set_seed(seed)
        unet_model = DynamiCrafterUNet(
            unet, operations=operations, attention=eager_attention_on_cpu
        )
        model = VideoModel(unet_model, Resampler(projection))
    initialize(model, torch.Generator().manual_seed(seed))
    return model


def small_encoders(folder: Path, *, keep: bool = True) -> Encoders:
    """The encoders that `train_vae` and `train_towers` wrote into `folder`."""
    vae_state = load_file(folder / "vae.safetensors")
    towers_state = load_file(folder / "towers.safetensors")
    return _encoders(vae_state, towers_state, keep)


def encoders_of(parts: CheckpointParts) -> Encoders:
    """The encoders inside a full checkpoint."""
    text = {f"text.{k.removeprefix('model.')}": v for k, v in parts.text_encoder.items()}
    visual = {k.removeprefix("model."): v for k, v in parts.image_encoder.items()}
    return _encoders(parts.vae, text | visual, keep=False)


def _encoders(
    vae_state: dict[str, Tensor], towers_state: dict[str, Tensor], keep: bool
) -> Encoders:
    vae = Autoencoder(detect_autoencoder({k: tuple(v.shape) for k, v in vae_state.items()}))
    vae.load_state_dict(vae_state)
    towers = Towers(detect_towers({k: tuple(v.shape) for k, v in towers_state.items()}))
    towers.load_state_dict(towers_state)
    return Encoders(vae, towers, tokenize, clip_preprocess, keep=keep)
