"""What one call of the U-Net moves once Inductor has fused it, counted on tensors without memory.

Inductor lowers and schedules the graph as for a run; its own figures for each kernel's bytes are
taken before any code is generated. Its interfaces for that are private: PyTorch 2.11 has them.
"""

from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._guards import detect_fake_mode
from torch._inductor.debug import DebugContext
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.fx_passes.post_grad import post_grad_passes, view_to_reshape
from torch._inductor.graph import GraphLowering
from torch._inductor.virtualized import V
from torch._subclasses.fake_tensor import FakeTensorMode

from dc_model.unet.unet import DynamiCrafterUNet
from dc_model.variants import UNetArch

from .counting import Cost, count_unet, unet_inputs

# Counted as without a compiler: one operator, whose operations Inductor does not know.
_ATTENTION = "_scaled_dot_product_flash_attention"


def count_compiled(arch: UNetArch, size: tuple[int, int], frames: int = 16) -> Cost:
    """Cost of one call with both branches of guidance in bf16, as kernels for a CPU.

    size: latent (h, w). The products' operations, and so the limit, are `counting.count_unet`'s.
    """
    plain = count_unet(arch, size, frames)
    cost = Cost()
    for name, flops, moved in kernels(arch, size, frames):
        if _ATTENTION not in name:
            cost.add(name, flops, moved)
    cost.seconds += plain.seconds_of[_ATTENTION]
    cost.bytes += plain.bytes_of[_ATTENTION]
    cost.seconds_of[_ATTENTION] = plain.seconds_of[_ATTENTION]
    cost.bytes_of[_ATTENTION] = plain.bytes_of[_ATTENTION]
    cost.flops = plain.flops
    return cost


Kernel = tuple[str, float, float]  # Operators, operations, bytes read and written.


def kernels(arch: UNetArch, size: tuple[int, int], frames: int) -> list[Kernel]:
    """Inductor's kernels for the network, fused and in order."""
    found: list[Kernel] = []

    def lower(graph_module: Any, inputs: Any) -> Any:
        found.extend(_scheduled(graph_module, inputs))
        return graph_module

    backend = aot_autograd(
        fw_compiler=lower, inference_compiler=lower, decompositions=select_decomp_table()
    )
    torch._dynamo.reset()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        unet = DynamiCrafterUNet(arch, dtype=torch.bfloat16).eval().requires_grad_(False)
        inputs = unet_inputs(arch, size, frames)
        torch.compile(unet, backend=backend, fullgraph=True)(**inputs)
    torch._dynamo.reset()
    return found


def _scheduled(graph_module: Any, inputs: Any) -> list[Kernel]:
    fake = detect_fake_mode(inputs)
    assert fake is not None
    view_to_reshape(graph_module)
    with V.set_fake_mode(fake):
        post_grad_passes(graph_module, True)
    graph = GraphLowering(
        graph_module, example_inputs=inputs, shape_env=fake.shape_env, is_inference=True
    )
    with (
        V.set_debug_handler(DebugContext()),
        V.set_graph_handler(graph),
        V.set_fake_mode(fake),
        torch.no_grad(),
    ):
        graph.run(*inputs)
        graph.init_wrapper_code()
        graph._update_scheduler()
        return [
            (_name(node), node.estimate_flops() or 0, node.get_read_write_buffers_sizes())
            for node in graph.scheduler.nodes
        ]


def _name(node: Any) -> str:
    """The operators that a kernel came from."""
    origins = {
        str(origin.target).split(".")[1]
        for part in node.get_nodes()
        if part.node is not None
        for origin in part.node.origins
        if str(origin.target).count(".") > 1
    }
    return " ".join(sorted(origins - {"reshape", "permute", "as_strided", "clone"})) or "copy"
