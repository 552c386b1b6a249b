"""A stock ControlNet that fits the small checkpoints."""

import comfy.cldm.cldm
import comfy.controlnet
import comfy.model_management
import torch
from comfy_api.latest import io

from .common import schema


def small_control_net() -> comfy.controlnet.ControlNet:
    """The host's own network for 8 x 8 latents, with seeded weights and no zero convolution."""
    network = comfy.cldm.cldm.ControlNet(
        image_size=8,
        in_channels=4,
        model_channels=64,
        hint_channels=3,
        num_res_blocks=[1, 1],
        channel_mult=(1, 2),
        transformer_depth=[1, 0],
        transformer_depth_middle=1,
        context_dim=128,
        num_head_channels=32,
        use_spatial_transformer=True,
        use_linear_in_transformer=True,
        legacy=False,
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 25
        values = torch.randn(parameter.shape, generator=generator) / fan_in**0.5
        parameter.data = values
        parameter.requires_grad_(False)
    device = comfy.model_management.get_torch_device()
    return comfy.controlnet.ControlNet(network.eval(), load_device=device)


class TestControlNet(io.ComfyNode):
    """CONTROL_NET for the stock nodes that apply one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("TestControlNet", [], [io.ControlNet.Output()])

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(small_control_net())
