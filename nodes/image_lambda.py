"""The gate lambda: how strongly each layer listens to the image.

Source: docs/method.md#dual-cross-attention; DynamiCrafter, figure 2.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import comfy.lora
from comfy_api.latest import io
from torch import Tensor, nn

from ..dc_model.shown import shown
from ..dc_model.unet.attention import IMAGE_STRENGTHS
from ..dc_model.unet.transformers import SpatialTransformer
from ..dc_model.unet.unet import DynamiCrafterUNet
from .checks import InputError
from .door import checked
from .host.charts import lambda_chart
from .host.guider import require_model
from .host.options import transformer_option, with_transformer_option
from .host.protocols import Model
from .inputs import CATEGORY, patched_model_input

# Where the host's MODEL has the network.
UNET = "diffusion_model"


def spatial_layers(unet: DynamiCrafterUNet) -> list[tuple[str, bool, SpatialTransformer]]:
    """(name, is a middle layer, layer) in forward order.

    Middle layers are those at a quarter of the latent's size and below: there, raising lambda
    stills the motion and lowering it loses the shapes (paper Fig. 2).
    """
    arch = unet.arch
    deep = [i for i, attends in enumerate(arch.attention_levels) if attends and i >= 2]
    names = {id(m): n for n, m in unet.named_modules() if isinstance(m, SpatialTransformer)}
    layers = []
    levels = [i for i, a in enumerate(arch.attention_levels) if a]
    encoder = [level for level in levels for _ in range(arch.num_res_blocks)]
    decoder = [level for level in reversed(levels) for _ in range(arch.num_res_blocks + 1)]
    depths = [*encoder, len(arch.attention_levels), *decoder]
    modules = [m for m in _forward_order(unet) if isinstance(m, SpatialTransformer)]
    for module, depth in zip(modules, depths, strict=True):
        middle = depth in deep or depth == len(arch.attention_levels)
        layers.append((_short(names[id(module)]), middle, module))
    return layers


def _forward_order(unet: DynamiCrafterUNet) -> Iterator[nn.Module]:
    for part in (unet.input_blocks, unet.middle_block, unet.output_blocks):
        yield from part.modules()


def _short(name: str) -> str:
    part, *rest = name.split(".")
    return "mid" if part == "middle_block" else f"{part.split('_')[0][:3]} {rest[0]}"


def image_gates(model: Model) -> list[float]:
    """Learned lambda per layer of a MODEL, in forward order; 1 where it learned none.

    With what is merged into this MODEL, and without what another clone has loaded into the network
    that they share.
    """
    unet = model.model.diffusion_model
    weights = model.get_key_patches(f"{UNET}.")
    names = {id(module): name for name, module in unet.named_modules()}
    gates = []
    for _, _, layer in spatial_layers(unet):
        scales = [
            _learned_scale(weights.get(f"{UNET}.{names[id(block.attn2)]}.alpha"))
            for block in layer.transformer_blocks
        ]
        gates.append(sum(scales) / len(scales))
    return gates


def _learned_scale(entry: Any) -> float:
    """Lambda of a layer from the host's record: its weight with converter, then its patches."""
    if entry is None:
        return 1.0
    (alpha, _), *patches = entry
    value = comfy.lora.calculate_weight(patches, alpha.float().clone(), "alpha")
    return float(value.tanh()) + 1


def image_strengths(
    unet: DynamiCrafterUNet, outer: float, middle: float, per_layer: str
) -> tuple[float, ...]:
    """One strength per layer; `per_layer`, where not empty, overrides the two.

    Raises InputError when `per_layer` is not a list with one number per layer.
    """
    layers = spatial_layers(unet)
    if not per_layer.strip():
        return tuple(middle if is_middle else outer for _, is_middle, _ in layers)
    parts = [p.strip() for p in per_layer.split(",")]
    try:
        values = tuple(float(p) for p in parts)
    except ValueError:
        values = ()
    if len(values) != len(layers) or not all(abs(v) < 1e6 for v in values):
        raise InputError(
            f"per_layer is '{shown(per_layer)}'; this model needs {len(layers)} comma-separated "
            "numbers: write them, or leave it empty."
        )
    return values


def scale_gates(model: Model, outer: float, middle: float, per_layer: str) -> Model:
    """A clone of a MODEL with its gates multiplied, on top of what scaled them before."""
    strengths = image_strengths(require_model(model).diffusion_model, outer, middle, per_layer)
    before: Sequence[float] = transformer_option(model, IMAGE_STRENGTHS) or [1.0] * len(strengths)
    product = tuple(a * b for a, b in zip(before, strengths, strict=True))
    return with_transformer_option(model, IMAGE_STRENGTHS, product)


def plot_gates(model: Model) -> Tensor:
    """IMAGE of lambda per layer: learned times what `scale_gates` set."""
    layers = spatial_layers(require_model(model).diffusion_model)
    gates = image_gates(model)
    strengths = transformer_option(model, IMAGE_STRENGTHS) or [1.0] * len(gates)
    return lambda_chart(
        "Gate lambda per layer (image beside text)",
        [name for name, _, _ in layers],
        [gate * strength for gate, strength in zip(gates, strengths, strict=True)],
        [is_middle for _, is_middle, _ in layers],
    )


class Lambda(io.ComfyNode):
    """Scales the gate lambda on a clone of the model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        scale = {"default": 1.0, "min": 0.0, "max": 4.0, "step": 0.05}
        return io.Schema(
            node_id="DynamiCrafterLambda",
            display_name="Dual-Attention Lambda",
            search_aliases=["motion strength", "more motion", "motion", "image strength"],
            category=f"{CATEGORY}/model",
            description="Sets how strongly each layer follows the image. Lower the middle layers "
            "for more motion; raise them for a calmer video.",
            inputs=[
                patched_model_input(),
                io.Float.Input(
                    "outer_layers",
                    tooltip="Multiplies lambda at both ends of the U-Net, where fine detail is "
                    "drawn. 1 = unchanged, 0 = ignores the image.",
                    **scale,
                ),
                io.Float.Input(
                    "middle_layers",
                    tooltip="Multiplies lambda in the U-Net's middle, which decides motion. Below "
                    "1 = more motion, above 1 = calmer.",
                    **scale,
                ),
                io.String.Input(
                    "per_layer",
                    default="",
                    tooltip="One multiplier per layer, comma-separated, in forward order. "
                    "Overrides the two above; leave it empty to use them.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    @checked
    def execute(
        cls, model: Model, outer_layers: float, middle_layers: float, per_layer: str
    ) -> io.NodeOutput:
        return io.NodeOutput(scale_gates(model, outer_layers, middle_layers, per_layer))


class LambdaPlot(io.ComfyNode):
    """Draws the gate lambda per layer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterLambdaPlot",
            display_name="Plot Lambda",
            search_aliases=["lambda chart"],
            category=f"{CATEGORY}/model",
            description="Draws lambda for each layer: the learned value (256 model) times what "
            "Dual-Attention Lambda set.",
            inputs=[io.Model.Input("model", tooltip="A DynamiCrafter model.")],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    @checked
    def execute(cls, model: Model) -> io.NodeOutput:
        return io.NodeOutput(plot_gates(model))


NODES = [Lambda, LambdaPlot]
