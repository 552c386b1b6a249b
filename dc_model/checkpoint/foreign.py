"""Files of other families, named and refused, so none is half-loaded.

Works on keys and shapes alone. Detection is data: another family or another kind of fork is one
`Other`. Source: docs/method.md#checkpoint-layouts for what is ours; the key layouts of the others
as their public files have them.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import torch

from ..shown import shown
from ..unet.unet import DynamiCrafterUNet
from ..variants import VARIANTS, Shapes, UNetArch
from .detect import detect_unet_arch
from .errors import CheckpointError, fitting

FIRST_CONV = "input_blocks.0.0.weight"
LAST_CONV = "out.2.weight"
FAMILY = "a DynamiCrafter, ToonCrafter, ViewCrafter or VideoCrafter checkpoint"


class Header(NamedTuple):
    """Keys and shapes of a file. unet: those of its U-Net, prefix removed, maybe none."""

    shapes: Shapes
    unet: Shapes

    @property
    def in_channels(self) -> int:
        """Of the U-Net's first convolution; 0 without one."""
        return _second(self.unet.get(FIRST_CONV, ()))

    @property
    def other_prefix(self) -> str:
        """What comes before the keys of a U-Net that is not found for it; empty without one."""
        if self.unet:
            return ""
        firsts = (key.removesuffix(FIRST_CONV) for key in self.shapes if key.endswith(FIRST_CONV))
        # A ControlNet has the first half of a U-Net.
        return next((p for p in firsts if f"{p}{LAST_CONV}" in self.shapes), "")

    @property
    def context_dim(self) -> int:
        """Width of the text that the U-Net attends to; 0 without a U-Net."""
        ending = ".1.transformer_blocks.0.attn2.to_k.weight"
        return next((_second(s) for k, s in self.unet.items() if k.endswith(ending)), 0)


def _second(shape: tuple[int, ...]) -> int:
    """A shape's second size; 0 where a damaged file has none."""
    return shape[1] if len(shape) > 1 else 0


class Other(NamedTuple):
    """What a file is instead, and what to do with it.

    parts: of keys' names, separated by spaces; any of them shows it, and where parts are joined by
    a `+`, all of those. beside_unet: also in a file that has a whole U-Net.
    """

    name: str
    parts: str
    advice: str
    beside_unet: bool = False

    def shown_by(self, keys: Iterable[str]) -> bool:
        """Whether these are keys of it."""
        return any(
            all(any(part in key for key in keys) for part in joined.split("+"))
            for joined in self.parts.split()
        )


_DIFFUSION_MODEL = "load it with Load Diffusion Model and use that model's own workflow"
_CHECKPOINT = "load it with Load Checkpoint, for images"
_OWN_CODE = f"use the code that it came with, or choose {FAMILY}"

SKETCH_CONTROLNET = Other(
    "ToonCrafter's sketch ControlNet",
    "input_hint_block.",
    "put it into models/controlnet and use it with the sketch control node",
)
# The first match wins, so special cases come before general ones.
FOREIGN_FAMILIES = (
    Other(
        "a LoRA without a base model",
        "lora_up lora_down lora_A lora_B .lora. .hada_w .lokr_w",
        "load the checkpoint that it was trained on here and the LoRA with Load LoRA after it",
    ),
    Other(
        "a ControlNet",
        "input_hint_block. controlnet_cond_embedding. controlnet_blocks.",
        "load it with Load ControlNet Model and connect it to this model's conditioning",
    ),
    Other(
        "an IP-Adapter",
        "ip_adapter.",
        "DynamiCrafter has an image attention of its own and takes none",
    ),
    Other(
        "AnimateDiff motion modules",
        ".motion_modules.",
        "use the AnimateDiff nodes with an SD 1.5 checkpoint",
    ),
    Other(
        "Stable Video Diffusion",
        ".time_mixer. temporal_transformer_blocks.",
        "load it with Image Only Checkpoint Loader (img2vid model)",
        beside_unet=True,
    ),
    Other("Wan video", "head.modulation", _DIFFUSION_MODEL),
    Other("HunyuanVideo", "individual_token_refiner.", _DIFFUSION_MODEL),
    Other("LTX-Video", "adaln_single.+patchify_proj.", _DIFFUSION_MODEL),
    Other("Mochi video", "t5_yproj.", _DIFFUSION_MODEL),
    Other("Cosmos video", "blocks.block0.blocks.", _DIFFUSION_MODEL),
    Other(
        "CogVideoX",
        "mixins.patch_embed. blocks.0.norm1.linear.weight+patch_embed.",
        _DIFFUSION_MODEL,
    ),
    Other("Flux", "double_blocks.0.img_attn. single_transformer_blocks.", _CHECKPOINT),
    Other("Stable Diffusion 3", "joint_blocks.", _CHECKPOINT),
    Other("Qwen-Image", "txt_norm.", _DIFFUSION_MODEL),
    Other(
        "a ModelScope-like video model (ModelScope, ZeroScope, I2VGen-XL)",
        "input_blocks.0.1. local_image_concat.",
        f"choose {FAMILY}",
        beside_unet=True,
    ),
    Other(
        "a model in Diffusers layout",
        "down_blocks.0.resnets.0.conv1. down_blocks.0.attentions.0.",
        f"choose {FAMILY} in its original layout",
    ),
    Other("an Analytic-Init statistic", "Expectation_X0", "load it with the Analytic Init node"),
    Other(
        "averaged weights (model_ema.) without those they are averages of",
        "model_ema.",
        "choose the full checkpoint of that training",
    ),
    Other(
        "a query transformer without its U-Net",
        "image_proj_model. latents+layers.0.0.to_kv.",
        f"choose {FAMILY} with its U-Net",
    ),
    Other(
        "a VAE",
        "decoder.conv_in. decoder.conv1. decoder.up. decoder.up_blocks.",
        "load it with Load VAE",
    ),
    Other(
        "a text encoder",
        "text_model. token_embedding. .SelfAttention. embed_tokens.",
        "load it with Load CLIP",
    ),
    Other("an image encoder", "vision_model. visual.", "load it with Load CLIP Vision"),
)
FORKS = (
    Other(
        "a camera-controlled fork (such as CamI2V, CameraCtrl or MotionCtrl)",
        "pose_encoder cc_projection plucker pluker epipolar camera",
        _OWN_CODE,
    ),
    Other("a layered fork (such as LayerAnimate)", "layer_ traj", _OWN_CODE),
    Other("an action-conditioned fork", "action act_", _OWN_CODE),
    Other(
        "a quantized file",
        "scale_weight scale_input weight_scale comfy_quant scaled_fp8 absmax",
        "choose a file in fp32, fp16, bf16 or plain fp8",
    ),
    Other(
        "a file with unmerged LoRA weights",
        "lora_ base_layer",
        "merge them in the trainer that wrote it",
    ),
)
UNKNOWN_FORK = Other("an unknown fork", "", _OWN_CODE)


def check_family(header: Header) -> None:
    """Raise CheckpointError for a file that is not of this family, or for a fork with more parts.

    The message names what was found and what to use instead. A file that passes has a U-Net with
    exactly the keys and shapes of its architecture.
    """
    if header.other_prefix:
        raise CheckpointError(
            f"The keys of its U-Net begin with {shown(header.other_prefix)}, where "
            "`model.diffusion_model.` or nothing is expected: rename them, or choose a checkpoint "
            "whose keys are named so."
        )
    family = _foreign_family(header)
    if family is not None:
        raise CheckpointError(
            f"The file holds {family.name}, not a DynamiCrafter U-Net: {family.advice}."
        )
    if FIRST_CONV not in header.unet:
        raise CheckpointError(
            f"The file holds no video U-Net (its keys: {some(header.shapes)}); choose {FAMILY}."
        )
    if all(header.in_channels != variant.in_channels for variant in VARIANTS.values()):
        raise CheckpointError(
            f"The U-Net has {header.in_channels} input channels; DynamiCrafter has 8 and "
            f"VideoCrafter 4: this is a fork with other inputs, choose {FAMILY}."
        )
    _refuse_other_keys(header.unet)


def _foreign_family(header: Header) -> Other | None:
    if _second(header.shapes.get("input_hint_block.0.weight", ())) == 1:
        return SKETCH_CONTROLNET
    # A ControlNet has the first half of a U-Net.
    has_unet = any(key.startswith("output_blocks.") for key in header.unet)
    for family in FOREIGN_FAMILIES:
        if (family.beside_unet or not has_unet) and family.shown_by(header.shapes):
            return family
    # Without temporal layers, the middle block ends one layer earlier.
    if FIRST_CONV in header.unet and "middle_block.3.in_layers.0.weight" not in header.unet:
        return Other(_image_model(header), "", _CHECKPOINT)
    return None


def _image_model(header: Header) -> str:
    if "label_emb.0.0.weight" in header.unet or header.context_dim == 2048:
        return "Stable Diffusion XL"
    if header.in_channels == 9:
        return "a Stable Diffusion inpainting model (9 input channels)"
    if header.in_channels == 8:
        return "an image-editing Stable Diffusion model (8 input channels, no temporal layers)"
    by_text = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2"}
    return by_text.get(header.context_dim, "an image model")


@fitting("U-Net")
def _refuse_other_keys(unet: Shapes) -> None:
    arch = detect_unet_arch(unet)
    expected = _shapes_of(arch)
    unknown = sorted(unet.keys() - expected.keys())
    if unknown:
        fork = next((fork for fork in FORKS if fork.shown_by(unknown)), UNKNOWN_FORK)
        raise CheckpointError(
            f"The U-Net has {len(unknown)} tensors that DynamiCrafter does not know "
            f"({some(unknown)}), so this is {fork.name}: {fork.advice}."
        )
    other = sorted(key for key, shape in expected.items() if unet.get(key) != shape)
    if other:
        raise CheckpointError(
            f"The U-Net lacks {len(other)} of its {len(expected)} tensors, or has them in another "
            f"shape ({some(other)}): the file is incomplete or of a fork; download it again or "
            f"choose {FAMILY}."
        )


@lru_cache(maxsize=4)
def _shapes_of(arch: UNetArch) -> Mapping[str, tuple[int, ...]]:
    network = DynamiCrafterUNet(arch, device=torch.device("meta"))
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def some(keys: Iterable[object]) -> str:
    """The first three keys, for a message."""
    names = [shown(k) for k in islice(keys, 4)]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
