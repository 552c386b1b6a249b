"""Parts that stock nodes join to a model, as small as they can be: what files of other models hold.

Nodes look for the class of some, and call methods of most; none of them has to be good at its task.
"""

from typing import Any

import comfy.gligen
import comfy.model_management
import comfy.model_patcher
import torch
from comfy_api.latest import io

from .common import schema

# Of the small checkpoints: channels of the text, and query channels of each spatial transformer.
TEXT = 128
QUERIES = (64, 128, 64, 64)
KINDS = (
    "MODEL_PATCH",
    "STYLE_MODEL",
    "GLIGEN",
    "LATENT_UPSCALE_MODEL",
    "AUDIO_ENCODER_OUTPUT",
    "LORA_MODEL",
)


def on_device(module: torch.nn.Module) -> Any:
    """The patcher by which the host moves a module."""
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(module, device, torch.device("cpu"))


def drawn(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return module.eval()


class _ModelPatch(torch.nn.Module):
    """What the nodes for ControlNets of Flux, Qwen, Z-Image, Anima, SDXL and Wan ask a file for."""

    additional_in_dim, cond_in_channels, num_layers = 0, 3, 1

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.project_modules = torch.nn.ModuleList([torch.nn.Identity()])

    def process_input_latent_image(self, latents: torch.Tensor) -> torch.Tensor:
        return latents

    def audio_proj(self, *audio: torch.Tensor) -> torch.Tensor:
        return audio[0]


class _StyleModel:
    def get_cond(self, encoded: Any) -> torch.Tensor:
        return torch.ones(encoded.last_hidden_state.shape[0], 2, TEXT)


class _Upscaler(torch.nn.Module):
    """As the host's do, it takes latents of 32 channels and five dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv3d(32, 32, 1)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.first(latents)


def gligen() -> Any:
    """The host's own classes, for text of the small checkpoints."""
    fusers = [
        comfy.gligen.GatedSelfAttentionDense(width, TEXT, width // 32, 32) for width in QUERIES
    ]
    return on_device(drawn(comfy.gligen.Gligen(fusers, comfy.gligen.PositionNet(TEXT, TEXT), TEXT)))


class TestParts(io.ComfyNode):
    """One of each, in the order of `KINDS`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("TestParts", [], [io.Custom(kind).Output() for kind in KINDS])

    @classmethod
    def execute(cls) -> io.NodeOutput:
        audio = {"encoded_audio_all_layers": [torch.zeros(1, 8, 16)] * 3, "audio_samples": 640}
        name = "diffusion_model.input_blocks.1.1.proj_in"
        lora = {
            f"{name}.lora_A.weight": torch.ones(2, 64),
            f"{name}.lora_B.weight": torch.ones(64, 2),
        }
        return io.NodeOutput(
            on_device(_ModelPatch()), _StyleModel(), gligen(), on_device(_Upscaler()), audio, lora
        )
