"""Makes rows of text, and counts those that cross-attention projects in one model call."""

from typing import Any

import comfy.patcher_extension
import torch
from comfy_api.latest import io

from .common import ANY, schema


class _Counter:
    """A wrapper around the network that watches its linear layers while it runs."""

    def __init__(self) -> None:
        self.rows: dict[str, set[int]] = {"text": set(), "image": set(), "queries": set()}

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        kinds = {"attn2.to_k": "text", "attn2.to_k_ip": "image", "attn2.to_q": "queries"}
        hooks = []
        for name, module in executor.class_obj.named_modules():
            kind = kinds.get(".".join(name.split(".")[-2:]))
            # Temporal attention has the same names; its queries are pixels.
            if kind and hasattr(
                executor.class_obj.get_submodule(name[: name.rfind(".")]), "to_k_ip"
            ):
                hooks.append(module.register_forward_pre_hook(self._watch(kind)))
        try:
            return executor(*args, **kwargs)
        finally:
            for hook in hooks:
                hook.remove()

    def _watch(self, kind: str) -> Any:
        return lambda _, inputs: self.rows[kind].add(inputs[0].shape[0])


class TestCountRows(io.ComfyNode):
    """Passes a MODEL on and counts while it runs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("TestCountRows", [io.Model.Input("model")], [io.Model.Output(), ANY.Output()])

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        counter, clone = _Counter(), model.clone()
        kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
        clone.add_wrapper_with_key(kind, "count rows", counter)
        return io.NodeOutput(clone, counter)


class TestRowsSeen(io.ComfyNode):
    """What was counted, once `after` is there."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestRowsSeen", [ANY.Input("counter"), io.Latent.Input("after")], [ANY.Output()]
        )

    @classmethod
    def execute(cls, counter: _Counter, after: Any) -> io.NodeOutput:
        del after
        return io.NodeOutput({kind: sorted(rows) for kind, rows in counter.rows.items()})


class TestTextRows(io.ComfyNode):
    """CONDITIONING as prompt-travel packs make it: a row for each letter of `rows`, `a` or `b`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        texts = [io.Conditioning.Input(name) for name in ("a", "b")]
        inputs = [*texts, io.String.Input("rows")]
        return schema("TestTextRows", inputs, [io.Conditioning.Output()])

    @classmethod
    def execute(cls, a: Any, b: Any, rows: str) -> io.NodeOutput:
        texts = {"a": a[0][0], "b": b[0][0]}
        pooled = {"pooled_output": a[0][1].get("pooled_output")}
        return io.NodeOutput([[torch.cat([texts[letter] for letter in rows]), pooled]])
