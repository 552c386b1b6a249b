"""Stops inside a model call until somebody interrupts, and counts the layers that still run."""

import time
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.patcher_extension
import folder_paths
import torch
from comfy_api.latest import io

from .common import schema

# Seconds; a server that nobody interrupts any more continues by itself.
PATIENCE = 1800.0


class _Hold:
    def __init__(self, name: str, call: int):
        self.file = Path(folder_paths.get_output_directory()) / name
        self.calls_left = call

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        network = executor.class_obj
        layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
        self.calls_left -= 1
        calls = 0

        def before(*_: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == len(layers) // 4 and self.calls_left == 0:
                self._wait()

        hooks = [layer.register_forward_pre_hook(before) for layer in layers]
        try:
            return executor(*args, **kwargs)
        finally:
            for hook in hooks:
                hook.remove()
            self.file.with_suffix(".calls").write_text(f"{calls} {len(layers)}", "utf-8")

    def _wait(self) -> None:
        self.file.with_suffix(".inside").touch()
        deadline = time.monotonic() + PATIENCE
        while not comfy.model_management.processing_interrupted():
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)


class TestHold(io.ComfyNode):
    """Passes a MODEL on that waits for an interrupt inside its `call`-th call, from 1."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestHold",
            [io.Model.Input("model"), io.String.Input("name"), io.Int.Input("call")],
            [io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, name: str, call: int) -> io.NodeOutput:
        clone = model.clone()
        kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
        clone.add_wrapper_with_key(kind, "hold", _Hold(name, call))
        return io.NodeOutput(clone)
