"""A ControlNet of the SD 2.1 layout as a file, for the small checkpoints."""

from pathlib import Path

import torch
from safetensors.torch import save_file

WIDTH, CONTEXT = 64, 128
HINT_WIDTHS = (16, 16, 32, 32, 96, 96, 256)


def transformer(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of one spatial transformer."""
    block = f"{name}.transformer_blocks.0"
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in ("proj_in", "proj_out"):
        shapes[f"{name}.{layer}.weight"] = (channels, channels)
    for attention, keys in (("attn1", channels), ("attn2", CONTEXT)):
        shapes[f"{block}.{attention}.to_q.weight"] = (channels, channels)
        shapes[f"{block}.{attention}.to_k.weight"] = (channels, keys)
        shapes[f"{block}.{attention}.to_v.weight"] = (channels, keys)
        shapes[f"{block}.{attention}.to_out.0.weight"] = (channels, channels)
    shapes[f"{block}.ff.net.0.proj.weight"] = (channels * 8, channels)
    shapes[f"{block}.ff.net.2.weight"] = (channels, channels * 4)
    for norm in (f"{name}.norm", *(f"{block}.norm{i}" for i in (1, 2, 3))):
        shapes[f"{norm}.weight"] = (channels,)
    return shapes


def residual(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of one residual block."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{name}.in_layers.0.weight": (inputs,),
        f"{name}.in_layers.2.weight": (outputs, inputs, 3, 3),
        f"{name}.emb_layers.1.weight": (outputs, WIDTH * 4),
        f"{name}.out_layers.0.weight": (outputs,),
        f"{name}.out_layers.3.weight": (outputs, outputs, 3, 3),
    }
    if inputs != outputs:
        shapes[f"{name}.skip_connection.weight"] = (outputs, inputs, 1, 1)
    return shapes


def control_shapes() -> dict[str, tuple[int, ...]]:
    """Every weight; all but the attentions' inner ones have a bias beside them."""
    deep = WIDTH * 2
    shapes: dict[str, tuple[int, ...]] = {
        "time_embed.0.weight": (WIDTH * 4, WIDTH),
        "time_embed.2.weight": (WIDTH * 4, WIDTH * 4),
        "input_blocks.0.0.weight": (WIDTH, 4, 3, 3),
        **residual("input_blocks.1.0", WIDTH, WIDTH),
        **transformer("input_blocks.1.1", WIDTH),
        "input_blocks.2.0.op.weight": (WIDTH, WIDTH, 3, 3),
        **residual("input_blocks.3.0", WIDTH, deep),
        **residual("middle_block.0", deep, deep),
        **transformer("middle_block.1", deep),
        **residual("middle_block.2", deep, deep),
        "middle_block_out.0.weight": (deep, deep, 1, 1),
    }
    for i, channels in enumerate((WIDTH, WIDTH, WIDTH, deep)):
        shapes[f"zero_convs.{i}.0.weight"] = (channels, channels, 1, 1)
    for i, (inputs, outputs) in enumerate(
        zip((3, *HINT_WIDTHS), (*HINT_WIDTHS, WIDTH), strict=True)
    ):
        shapes[f"input_hint_block.{2 * i}.weight"] = (outputs, inputs, 3, 3)
    return shapes


def write_control_net(path: Path) -> None:
    generator, tensors = torch.Generator().manual_seed(0), {}
    for key, shape in control_shapes().items():
        values = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            tensors[key] = 1 + 0.1 * values
        else:
            # A SiLU follows every layer of the hint's encoder and halves its signal.
            gain = 2.0 if key.startswith("input_hint_block") else 1.0
            tensors[key] = gain * values / (torch.tensor(shape[1:]).prod() ** 0.5)
        if not key.endswith(("to_q.weight", "to_k.weight", "to_v.weight")):
            bias = torch.randn(shape[0], generator=generator)
            tensors[key.replace(".weight", ".bias")] = 0.1 * bias
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
