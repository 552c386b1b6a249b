"""Values that no node expects, made from a description."""

import json
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from .common import ANY, schema


class Stranger:
    """An object of no known kind."""


def made(given: Any) -> Any:
    """The value that a description means; see `hostile_values` in the tests' support."""
    if isinstance(given, list):
        return [made(item) for item in given]
    if not isinstance(given, dict):
        return given
    if "tensor" in given:
        return _tensor(**given["tensor"])
    if "number" in given:
        return float(given["number"])
    if "tuple" in given:
        return tuple(made(item) for item in given["tuple"])
    if "stranger" in given:
        return Stranger()
    return {key: made(value) for key, value in given["dict"].items()}


def _tensor(shape: list[int], dtype: str, fill: str, layout: str) -> Tensor:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    if fill != "random":
        values = torch.full(shape, float(fill))
    if dtype.startswith("complex"):
        values = values.to(torch.complex64)
    values = values.to(getattr(torch, dtype))
    if layout == "meta":
        return values.to("meta")
    if layout == "sparse":
        return values.to_sparse()
    if layout == "nested":
        return torch.nested.nested_tensor([values, values])
    if layout == "jagged":
        return torch.nested.nested_tensor([values, values], layout=torch.jagged)
    if layout == "turned":
        return values.flip(0) if not values.ndim else values.transpose(0, -1).transpose(0, -1)
    return values


class TestHostile(io.ComfyNode):
    """Any value, of any type."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("TestHostile", [io.String.Input("value")], [ANY.Output()])

    @classmethod
    def execute(cls, value: str) -> io.NodeOutput:
        return io.NodeOutput(made(json.loads(value)))
