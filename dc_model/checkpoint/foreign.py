"""Files of other families, named and refused, so none is half-loaded.

Works on keys and shapes alone. Detection is data: another family is one `ForeignFamily`, another
kind of fork one `Fork`. Source: docs/method.md#checkpoint-layouts
for what is ours; the key layouts of the others as their public files have them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

import torch

from ..shown import shown
from ..unet.unet import DynamiCrafterUNet
from ..variants import VARIANTS, Shapes
from .detect import CheckpointError, detect_unet_arch

FIRST_CONV = "input_blocks.0.0.weight"
FAMILY = "a DynamiCrafter, ToonCrafter, ViewCrafter or VideoCrafter checkpoint"


@dataclass(frozen=True, slots=True)
class Header:
    """Keys and shapes of a file. unet: those of its U-Net, prefix removed, maybe none."""

    shapes: Shapes
    unet: Shapes

    def holds(self, *fragments: str) -> bool:
        """Whether each fragment occurs in some key."""
        return all(any(fragment in key for key in self.shapes) for fragment in fragments)

    @property
    def in_channels(self) -> int:
        """Of the U-Net's first convolution; 0 without one."""
        return _second(self.unet.get(FIRST_CONV, ()))

    @property
    def context_dim(self) -> int:
        """Width of the text that the U-Net attends to; 0 without a U-Net."""
        ending = ".1.transformer_blocks.0.attn2.to_k.weight"
        return next((_second(s) for k, s in self.unet.items() if k.endswith(ending)), 0)

    @property
    def image_unet(self) -> bool:
        """A U-Net without temporal layers: its middle block ends one layer earlier."""
        return FIRST_CONV in self.unet and "middle_block.3.in_layers.0.weight" not in self.unet


def _second(shape: tuple[int, ...]) -> int:
    """A shape's second size; 0 where a damaged file has none."""
    return shape[1] if len(shape) > 1 else 0


@dataclass(frozen=True, slots=True)
class ForeignFamily:
    """What a file is instead, how its header shows it, and what to do with it."""

    name: str
    telling: Callable[[Header], bool]
    advice: str


@dataclass(frozen=True, slots=True)
class Fork:
    """A kind of extension of this family, parts of the key names that it adds, and what to do."""

    name: str
    fragments: tuple[str, ...]
    advice: str


def holding(*fragments: str) -> Callable[[Header], bool]:
    """Tells a header in which each fragment occurs in some key."""
    return lambda header: header.holds(*fragments)


def holding_any(*fragments: str) -> Callable[[Header], bool]:
    """Tells a header in which one of the fragments occurs in some key."""
    return lambda header: any(header.holds(fragment) for fragment in fragments)


def without_unet(*fragments: str) -> Callable[[Header], bool]:
    """Tells a header without a U-Net in which one of the fragments occurs in some key."""
    return lambda header: not header.unet and any(header.holds(f) for f in fragments)


def image_unet(context_dim: int) -> Callable[[Header], bool]:
    """Tells a U-Net without temporal layers by the width of its text."""
    return lambda header: header.image_unet and header.context_dim == context_dim


_DIFFUSION_MODEL = "load it with Load Diffusion Model and use that model's own workflow"
_CHECKPOINT = "load it with Load Checkpoint, for images"

# The first match wins, so special cases come before general ones.
FOREIGN_FAMILIES = (
    ForeignFamily(
        "a LoRA without a base model",
        lambda h: (
            not h.unet
            and any(
                h.holds(f)
                for f in (
                    "lora_up",
                    "lora_down",
                    "lora_A",
                    "lora_B",
                    ".lora.",
                    ".hada_w",
                    ".lokr_w",
                )
            )
        ),
        "load the checkpoint that it was trained on here and the LoRA with Load LoRA after it",
    ),
    ForeignFamily(
        "ToonCrafter's sketch ControlNet",
        lambda h: h.shapes.get("input_hint_block.0.weight", (0, 0))[1] == 1,
        "put it into models/controlnet and use it with the sketch control node",
    ),
    ForeignFamily(
        "a ControlNet",
        lambda h: (
            "out.2.weight" not in h.unet
            and any(
                h.holds(f)
                for f in ("input_hint_block.", "controlnet_cond_embedding.", "controlnet_blocks.")
            )
        ),
        "load it with Load ControlNet Model and connect it to this model's conditioning",
    ),
    ForeignFamily(
        "an IP-Adapter",
        without_unet("ip_adapter."),
        "DynamiCrafter has an image attention of its own and takes none",
    ),
    ForeignFamily(
        "AnimateDiff motion modules",
        holding(".motion_modules."),
        "use the AnimateDiff nodes with an SD 1.5 checkpoint",
    ),
    ForeignFamily(
        "Stable Video Diffusion",
        holding_any(".time_mixer.", "temporal_transformer_blocks."),
        "load it with Image Only Checkpoint Loader (img2vid model)",
    ),
    ForeignFamily("Wan video", holding("head.modulation"), _DIFFUSION_MODEL),
    ForeignFamily("HunyuanVideo", holding("individual_token_refiner."), _DIFFUSION_MODEL),
    ForeignFamily("LTX-Video", holding("adaln_single.", "patchify_proj."), _DIFFUSION_MODEL),
    ForeignFamily("Mochi video", holding("t5_yproj."), _DIFFUSION_MODEL),
    ForeignFamily("Cosmos video", holding("blocks.block0.blocks."), _DIFFUSION_MODEL),
    ForeignFamily(
        "CogVideoX",
        lambda h: (
            h.holds("mixins.patch_embed.")
            or (h.holds("blocks.0.norm1.linear.weight") and h.holds("patch_embed."))
        ),
        _DIFFUSION_MODEL,
    ),
    ForeignFamily(
        "Flux", holding_any("double_blocks.0.img_attn.", "single_transformer_blocks."), _CHECKPOINT
    ),
    ForeignFamily("Stable Diffusion 3", holding("joint_blocks."), _CHECKPOINT),
    ForeignFamily("Qwen-Image", holding("txt_norm."), _DIFFUSION_MODEL),
    ForeignFamily(
        "a ModelScope-like video model (ModelScope, ZeroScope, I2VGen-XL)",
        lambda h: any(k.startswith(("input_blocks.0.1.", "local_image_concat.")) for k in h.unet),
        f"choose {FAMILY}",
    ),
    ForeignFamily(
        "Stable Diffusion XL",
        lambda h: h.image_unet and ("label_emb.0.0.weight" in h.unet or h.context_dim == 2048),
        _CHECKPOINT,
    ),
    ForeignFamily(
        "a Stable Diffusion inpainting model (9 input channels)",
        lambda h: h.image_unet and h.in_channels == 9,
        _CHECKPOINT,
    ),
    ForeignFamily(
        "an image-editing Stable Diffusion model (8 input channels, no temporal layers)",
        lambda h: h.image_unet and h.in_channels == 8,
        _CHECKPOINT,
    ),
    ForeignFamily("Stable Diffusion 1", image_unet(768), _CHECKPOINT),
    ForeignFamily("Stable Diffusion 2", image_unet(1024), _CHECKPOINT),
    ForeignFamily("an image model", lambda h: h.image_unet, _CHECKPOINT),
    ForeignFamily(
        "a model in Diffusers layout",
        without_unet("down_blocks.0.resnets.0.conv1.", "down_blocks.0.attentions.0."),
        f"choose {FAMILY} in its original layout",
    ),
    ForeignFamily(
        "an Analytic-Init statistic",
        without_unet("Expectation_X0"),
        "load it with the Analytic Init node",
    ),
    ForeignFamily(
        "a query transformer without its U-Net",
        lambda h: (
            not h.unet and (h.holds("image_proj_model.") or h.holds("latents", "layers.0.0.to_kv."))
        ),
        f"choose {FAMILY} with its U-Net",
    ),
    ForeignFamily(
        "a VAE",
        without_unet("decoder.conv_in.", "decoder.conv1.", "decoder.up.", "decoder.up_blocks."),
        "load it with Load VAE",
    ),
    ForeignFamily(
        "an image encoder",
        lambda h: (
            not h.unet
            and not h.holds("token_embedding.")
            and (h.holds("vision_model.") or h.holds("visual."))
        ),
        "load it with Load CLIP Vision",
    ),
    ForeignFamily(
        "a text encoder",
        without_unet("text_model.", "transformer.resblocks.", ".SelfAttention.", "embed_tokens."),
        "load it with Load CLIP",
    ),
)

_OWN_CODE = f"use the code that it came with, or choose {FAMILY}"

FORKS = (
    Fork(
        "a camera-controlled fork (such as CamI2V, CameraCtrl or MotionCtrl)",
        ("pose_encoder", "cc_projection", "plucker", "pluker", "epipolar", "camera"),
        _OWN_CODE,
    ),
    Fork("a layered fork (such as LayerAnimate)", ("layer_", "traj"), _OWN_CODE),
    Fork("an action-conditioned fork", ("action", "act_"), _OWN_CODE),
    Fork(
        "a quantized file",
        ("scale_weight", "scale_input", "weight_scale", "comfy_quant", "scaled_fp8", "absmax"),
        "choose a file in fp32, fp16, bf16 or plain fp8",
    ),
    Fork(
        "a file with unmerged LoRA weights",
        ("lora_", "base_layer"),
        "merge them in the trainer that wrote it",
    ),
    Fork("an unknown fork", ("",), _OWN_CODE),
)


def check_family(header: Header) -> None:
    """Raise CheckpointError for a file that is not of this family, or for a fork with more parts.

    The message names what was found and what to use instead. A file that passes has a U-Net with
    exactly the keys of its architecture.
    """
    family = next((f for f in FOREIGN_FAMILIES if f.telling(header)), None)
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


def _refuse_other_keys(unet: Shapes) -> None:
    arch = detect_unet_arch(unet)
    try:
        tensors = DynamiCrafterUNet(arch, device=torch.device("meta")).state_dict()
    except (LookupError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(
            f"The U-Net has a layout that no model of this family has ({shown(error)}): the file "
            f"is damaged or of a fork, choose {FAMILY}."
        ) from error
    expected = tensors.keys()
    unknown = sorted(unet.keys() - expected)
    if unknown:
        fork = next(f for f in FORKS if any(part in k for k in unknown for part in f.fragments))
        raise CheckpointError(
            f"The U-Net has {len(unknown)} tensors that DynamiCrafter does not know "
            f"({some(unknown)}), so this is {fork.name}: {fork.advice}."
        )
    missing = sorted(expected - unet.keys())
    if missing:
        raise CheckpointError(
            f"The U-Net lacks {len(missing)} of its {len(expected)} tensors ({some(missing)}): "
            f"the file is incomplete or of a fork; download it again or choose {FAMILY}."
        )
    misshapen = sorted(k for k, tensor in tensors.items() if tuple(tensor.shape) != unet[k])
    if misshapen:
        first = misshapen[0]
        raise CheckpointError(
            f"The U-Net has {len(misshapen)} tensors of the wrong shape ({shown(first)} is "
            f"{list(unet[first])}, expected {list(tensors[first].shape)}): the file is damaged or "
            f"of a fork; download it again or choose {FAMILY}."
        )


def some(keys: Iterable[object]) -> str:
    """The first three keys, for a message."""
    names = [shown(k) for k in islice(keys, 4)]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
