"""Across the trainer and the server: a LoRA loaded by the stock LoraLoaderModelOnly."""

from pathlib import Path

import pytest
import torch
from comfyui.server import ComfyServer
from graphs import Graph
from reference import Reference
from scene import WideScene, unit_noise
from studio import Studio, relative_error
from torch import Tensor
from training_helpers import small_trainer, tiny_config

from training.lora import LoraLinear
from training.train import export
from training.trainer import Trainer

pytestmark = pytest.mark.server

STEPS, CFG, SPEED = 2, 3.0, 24
# Relative error of the sampled latents. The host adds the product to the weight where the trainer
# adds two outputs, both in float32, and every step enlarges the difference in rounding.
TOLERANCE = 1e-3


@pytest.fixture
def studio(server: ComfyServer, golden: Path) -> Studio:
    return Studio(server, golden)


def train_lora(checkpoint: Path, output: Path) -> Trainer:
    config = tiny_config(
        output,
        "lora",
        model={"checkpoint": str(checkpoint)},
        data={"kind": "small_world", "pool": 3, "size": [64, 64], "num_frames": 4},
        optimizer={"rate": 0.01},
        run={"steps": 3, "batch_size": 1, "ema_decay": 0.0},
        lora={"rank": 4, "alpha": 2.0},
    )
    trainer = small_trainer(config)
    trainer.train()
    return trainer


@torch.no_grad()
def round_to_file(trainer: Trainer) -> None:
    """The file holds half precision; give the adapters the same values."""
    for module in trainer.raw.modules():
        if isinstance(module, LoraLinear):
            for weight in (module.lora_up.weight, module.lora_down.weight):
                weight.copy_(weight.half().float())


def expected(
    studio: Studio, checkpoint: str, trainer: Trainer, found: dict[str, dict[str, Tensor]]
) -> Tensor:
    """The trainer's own adapted U-Net under the server's conditions, in plain PyTorch."""
    reference = Reference(studio.checkpoints / checkpoint, "512")
    reference.unet = trainer.raw.unet.eval()
    image = "value.0.1.dynamicrafter_image_context"
    conditions = [(found[n]["value.0.0"], found[n][image]) for n in ("positive", "negative")]
    concat = found["positive"]["value.0.1.concat_latent_image"]
    with torch.no_grad():
        return reference.sample(unit_noise(0), conditions, CFG, SPEED, STEPS, concat)


def test_a_trained_lora_acts_as_in_the_trainer(studio: Studio, tmp_path: Path):
    graph = Graph()
    checkpoint = studio.small_checkpoint(wide=True)
    trainer = train_lora(studio.checkpoints / checkpoint, tmp_path)
    export(trainer, studio.server.base / "models" / "loras" / "trained.safetensors")
    round_to_file(trainer)

    plain, adapted = WideScene(studio, graph), WideScene(studio, graph)
    adapted.model = graph.add(
        "LoraLoaderModelOnly",
        model=adapted.model,
        lora_name="trained.safetensors",
        strength_model=1.0,
    )[0]
    on, off = (
        scene.sample(
            noise=scene.unit_noise(),
            steps=STEPS,
            cfg=CFG,
            guidance_rescale=0.0,
            ending="published",
        )
        for scene in (adapted, plain)
    )
    found = studio.run(graph, on=on, off=off, positive=adapted.positive, negative=adapted.negative)
    with_lora, without = (found[name]["value.samples"] for name in ("on", "off"))
    assert relative_error(with_lora, expected(studio, checkpoint, trainer, found)) < TOLERANCE
    assert relative_error(without, with_lora) > 100 * TOLERANCE
