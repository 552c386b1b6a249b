"""The host's fast 8-bit layers on a CPU.

Its own code runs, and falls back to full precision for the product alone, since the CPU has no
8-bit one.
"""

from typing import Any
from unittest import mock

import comfy.model_management
import comfy.ops
import comfy.patcher_extension
import torch
import torch.nn.functional as F
from comfy_api.latest import io

import nodes

from .common import ANY, schema

E4M3_MAX = 448.0


class _OwnFastLinear:
    """What the fast path computes, without touching its input; also notes what it was given."""

    def __init__(self) -> None:
        self.calls = self.unfit = 0

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        with mock.patch.object(comfy.ops, "fp8_linear", self.linear):
            return executor(*args, **kwargs)

    def linear(self, layer: Any, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        # CUDA multiplies 8-bit matrices whose sides are multiples of 16.
        fits = x.ndim in (2, 3) and all(side % 16 == 0 for side in layer.weight.shape)
        self.unfit += not (fits and layer.weight.dtype == torch.float8_e4m3fn)
        rounded = x.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn).to(x.dtype)
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        return F.linear(rounded, layer.weight.to(x.dtype), bias)


class TestFastFP8(io.ComfyNode):
    """MODEL of a checkpoint as on a card with 8-bit arithmetic.

    own: our arithmetic in place of the host's function; the second output counts its calls.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.String.Input("ckpt_name"), io.Boolean.Input("own")]
        return schema("TestFastFP8", inputs, [io.Model.Output(), ANY.Output()])

    @classmethod
    def execute(cls, ckpt_name: str, own: bool) -> io.NodeOutput:
        mappings = nodes.NODE_CLASS_MAPPINGS  # type: ignore[attr-defined]
        load = mappings["DynamiCrafterCheckpointLoader"].execute
        management = comfy.model_management
        with mock.patch.object(management, "supports_fp8_compute", lambda *_: True):
            model = load(ckpt_name, "auto", "fp8_e4m3fn_fast").result[0].clone()
        counter = _OwnFastLinear()
        if own:
            kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
            model.add_wrapper_with_key(kind, "fast fp8", counter)
        return io.NodeOutput(model, vars(counter))
