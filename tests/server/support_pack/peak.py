"""Memory of a CUDA device while a MODEL is sampled, and what the host estimates."""

from typing import Any

import comfy.patcher_extension
import torch
from comfy_api.latest import io

from .common import ANY, schema


class _Peak:
    """A wrapper around a sampling run."""

    def __init__(self, patcher: Any):
        self.patcher = patcher
        self.seen: dict[str, float] = {}

    def __call__(self, executor: Any, noise: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        result = executor(noise, *args, **kwargs)
        torch.cuda.synchronize()
        self.seen["peak"] = torch.cuda.max_memory_allocated()
        self.seen["weights"] = self.patcher.model_size()
        self.seen["estimate"] = self.patcher.memory_required(list(noise.shape))
        return result


class TestPeakMemory(io.ComfyNode):
    """Passes a MODEL on; the second output is for `TestCallsSeen`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestPeakMemory", [io.Model.Input("model")], [io.Model.Output(), ANY.Output()]
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        clone = model.clone()
        peak = _Peak(clone)
        kind = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
        clone.add_wrapper_with_key(kind, "peak memory", peak)
        return io.NodeOutput(clone, peak.seen)
