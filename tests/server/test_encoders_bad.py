"""Encoders of more layers than any has: refused before thousands of them are built."""

from collections.abc import Callable

import pytest
import torch
from graphs import Graph
from safetensors.torch import save_file
from scene import Scene
from studio import Studio
from torch import Tensor

pytestmark = pytest.mark.server

LAYERS = 1000
TOWERS = {
    "text encoder": "cond_stage_model.model.transformer.resblocks.{}.a",
    "image encoder": "embedder.model.visual.transformer.resblocks.{}.a",
    "query transformer": "image_proj_model.layers.{}.a",
    "VAE": "first_stage_model.encoder.down.{}.block.0.conv2.weight",
}


def refusal(
    studio: Studio, graph: Graph, name: str, edit: Callable[[dict[str, Tensor]], None]
) -> str:
    """What the loader says of a small checkpoint that was edited; it names the file."""
    file = studio.small_checkpoint(name=f"-{name.replace(' ', '-')}", edit=edit)
    options = {"variant": "auto", "weight_dtype": "fp32"}
    loader = graph.add("DynamiCrafterCheckpointLoader", ckpt_name=file, **options)
    message = studio.error(graph, loader[0])
    (studio.checkpoints / file).unlink()
    assert file in message
    return message


@pytest.mark.parametrize("part", list(TOWERS))
def test_a_tower_of_empty_layers(studio: Studio, graph: Graph, part: str) -> None:
    def pile(tensors: dict[str, Tensor]) -> None:
        for layer in range(LAYERS):
            tensors.setdefault(TOWERS[part].format(layer), torch.zeros(0))

    message = refusal(studio, graph, f"tower {part}", pile)
    assert part in message
    assert f"it has {LAYERS} layers, more than 64" in message


def test_a_sketch_control_net_that_is_cut(studio: Studio, graph: Graph) -> None:
    """What detection does not find is reported in a sentence that names the file."""
    folder = studio.server.base / "models" / "controlnet"
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {
        "input_hint_block.0.weight": (16, 1, 3, 3),
        "zero_convs.0.0.weight": (32, 32, 1, 1),
        "middle_block.1.proj_in.weight": (32, 32),
    }
    save_file({k: torch.zeros(s) for k, s in shapes.items()}, folder / "cut.safetensors")
    scene = Scene(studio, graph)
    controlled = graph.add(
        "DynamiCrafterSketchControl",
        positive=scene.positive,
        negative=scene.negative,
        control_net_name="cut.safetensors",
        sketches=scene.picture,
        frames="0",
        strength=0.6,
        start_percent=0.0,
        end_percent=1.0,
    )
    message = studio.error(graph, controlled[0])
    assert "cut.safetensors: The file's sketch ControlNet has an unknown layout" in message


# Without them the host would run with whatever was in memory.
NEEDED = {
    "text encoder": "cond_stage_model.model.token_embedding.weight",
    "image encoder": "embedder.model.visual.class_embedding",
    "VAE": "first_stage_model.post_quant_conv.bias",
}


@pytest.mark.parametrize("part", list(NEEDED))
def test_an_encoder_without_one_of_its_tensors(studio: Studio, graph: Graph, part: str) -> None:
    def drop(tensors: dict[str, Tensor]) -> None:
        del tensors[NEEDED[part]]

    message = refusal(studio, graph, f"lacks {part}", drop)
    assert f"The file's {part} lacks 1 of its tensors, first " in message
