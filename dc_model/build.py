"""Networks in float32 from the parts of a checkpoint, whose shapes say how large they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoint.detect import HeadDims, detect_unet_arch
from .checkpoint.errors import CheckpointError, fitting, naming
from .checkpoint.foreign import some
from .checkpoint.inspect import read_checkpoint
from .checkpoint.layout import (
    ENCODERS,
    CheckpointParts,
    parts_by_prefix,
    require_floating,
    shapes,
)
from .encoders.autoencoder import Autoencoder, detect_autoencoder
from .encoders.clip import Towers, detect_towers
from .projection import Resampler, detect_projection_arch
from .toon.dual_reference_vae import DualReferenceVAE, detect_dual_reference_arch
from .unet.ops import eager_attention_on_cpu
from .unet.unet import DynamiCrafterUNet
from .variants import has_dual_reference


def lend_encoders(parts: CheckpointParts, path: str | Path) -> None:
    """Fill in the encoders that `parts` lacks from another file, by the published prefixes.

    Raises CheckpointError, which names that file, when it cannot be read, holds no encoder, or
    when a part that it lends has weights of other than floating numbers.
    """
    with naming(path):
        tensors = read_checkpoint(path).tensors
        lender = parts_by_prefix(tensors)
        if not any(getattr(lender, part) for part, _, _ in ENCODERS):
            raise CheckpointError(
                f"It lends no encoder (its keys: {some(tensors)}); expected keys that begin with "
                f"{', '.join(prefix for _, prefix, _ in ENCODERS)}: choose a full checkpoint."
            )
        for part, _, name in ENCODERS:
            if not getattr(parts, part):
                require_floating(getattr(lender, part), name)
                setattr(parts, part, getattr(lender, part))


def missing_encoders(parts: CheckpointParts, *, image_tower: bool) -> str:
    """The encoders that are not there, in words; image_tower: whether that one is needed."""
    lacking = {
        "the VAE (first_stage_model)": not parts.vae,
        "the text tower (cond_stage_model)": not parts.text_encoder,
        "the image tower (embedder)": image_tower and not parts.image_encoder,
    }
    return ", ".join(name for name, lacks in lacking.items() if lacks)


@fitting("U-Net or query transformer")
def build_networks(
    parts: CheckpointParts, *, dropout: float = 0.0, heads: HeadDims | None = None
) -> tuple[DynamiCrafterUNet, Resampler | None]:
    """U-Net and query transformer from their shapes, in float32."""
    heads = heads or HeadDims()
    arch = detect_unet_arch(shapes(parts.unet), heads.unet)._replace(dropout=dropout)
    unet = _filled(DynamiCrafterUNet(arch, attention=eager_attention_on_cpu), parts.unet)
    if not parts.projector:
        return unet, None
    projection = detect_projection_arch(shapes(parts.projector), heads.projector)
    return unet, _filled(Resampler(projection), parts.projector)


@fitting("VAE")
def build_vae(parts: CheckpointParts) -> Autoencoder:
    """Stable Diffusion's VAE from its shapes, in float32. CheckpointError for ToonCrafter's."""
    if has_dual_reference(parts.vae):
        raise CheckpointError(
            "Its VAE is ToonCrafter's, which decodes with reference frames; choose a checkpoint "
            "with Stable Diffusion's."
        )
    return _filled(Autoencoder(detect_autoencoder(shapes(parts.vae))), parts.vae)


@fitting("VAE")
def build_toon_vae(parts: CheckpointParts) -> DualReferenceVAE:
    """ToonCrafter's VAE from its shapes, in float32."""
    return _filled(DualReferenceVAE(detect_dual_reference_arch(shapes(parts.vae))), parts.vae)


@fitting("text or image encoder")
def build_towers(parts: CheckpointParts, heads: HeadDims | None = None) -> Towers:
    """CLIP's towers from their shapes, in float32; without an image tower where there is none.

    The image tower's dead text keys are left out.
    """
    heads = heads or HeadDims()
    text = {f"text.{k.removeprefix('model.')}": v for k, v in parts.text_encoder.items()}
    image = {k.removeprefix("model."): v for k, v in parts.image_encoder.items()}
    image = {k: v for k, v in image.items() if k.startswith("visual.")}
    arch = detect_towers(shapes(text | image), heads.text_encoder, heads.image_encoder)
    return _filled(Towers(arch, vision=bool(image)), text | image)


def _filled(module: Any, state: Mapping[str, Tensor]) -> Any:
    module.load_state_dict({key: value.float() for key, value in state.items()})
    return module
