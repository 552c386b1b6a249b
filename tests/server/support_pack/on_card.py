"""Runs a node as on a graphics card with little memory."""

import copy
import gc
import json
from typing import Any

import comfy.controlnet
import comfy.model_management
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from comfy_api.latest import io

import nodes

from .common import ANY, schema
from .small_card import DEVICE, Card, CardTensor

LINKS = 8


def _to_card(thing: Any) -> Any:
    """The same, with its models to be loaded onto the card; what it is a copy of stays."""
    if isinstance(thing, ModelPatcher):
        clone = thing.clone()
        clone.load_device = DEVICE
        return clone
    if isinstance(thing, VAE):
        clone = copy.copy(thing)
        clone.patcher, clone.device = _to_card(thing.patcher), DEVICE
        return clone
    if isinstance(thing, comfy.controlnet.ControlBase):
        clone = thing.copy()
        clone.patcher = _to_card(clone.patcher)
        return clone
    if isinstance(thing, list):
        return [_to_card(item) for item in thing]
    if isinstance(thing, dict):
        return {key: _to_card(item) for key, item in thing.items()}
    return thing


def _patchers(thing: Any) -> list[ModelPatcher]:
    """Every model inside, once."""
    if isinstance(thing, dict | list | tuple):
        inner = thing.values() if isinstance(thing, dict) else thing
        return list({id(p): p for x in inner for p in _patchers(x)}.values())
    if isinstance(thing, ModelPatcher):
        return [thing]
    if isinstance(thing, VAE):
        return [thing.patcher]
    return thing.get_models() if isinstance(thing, comfy.controlnet.ControlBase) else []


def _resident(patchers: list[ModelPatcher]) -> int:
    """Bytes of the models' parameters that lie on the card."""
    parameters = [p for patcher in patchers for p in patcher.model.parameters()]
    return sum(p.numel() * p.element_size() for p in parameters if isinstance(p, CardTensor))


def _execute(node_id: str, arguments: dict[str, Any]) -> tuple[Any, ...]:
    node = nodes.NODE_CLASS_MAPPINGS[node_id]  # type: ignore[attr-defined]
    if hasattr(node, "execute"):
        return node.execute(**arguments).result
    return getattr(node(), node.FUNCTION)(**arguments)


class TestOnCard(io.ComfyNode):
    """Runs a node once per card size, one after the other, and reports what lay on the card.

    weights: KB of weights that fit beside what the host keeps free, one for each run; names: of the
    links, in order; settings: the node's other inputs as JSON.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        texts = [io.String.Input(name) for name in ("node", "weights", "names", "settings")]
        links = [ANY.Input(f"link{i}", optional=True) for i in range(LINKS)]
        return schema("TestOnCard", [*texts, *links], [ANY.Output(), ANY.Output()])

    @classmethod
    def execute(
        cls, node: str, weights: str, names: str, settings: str, **links: Any
    ) -> io.NodeOutput:
        comfy.model_management.unload_all_models()
        given = [links[f"link{i}"] for i in range(LINKS) if f"link{i}" in links]
        inputs = {name: _to_card(x) for name, x in zip(names.split(","), given, strict=True)}
        patchers = _patchers(inputs)
        reserve = int(comfy.model_management.minimum_inference_memory())
        results, reports = [], []
        card = Card(0)
        with card.plugged_in():
            for size in weights.split(","):
                card.size = reserve + int(float(size) * 1024)
                card.peak = card.used
                results.append(_execute(node, {**inputs, **json.loads(settings)}))
                reports.append({"resident": _resident(patchers), "peak": card.peak})
        total = sum(patcher.model_size() for patcher in patchers)
        del patchers, inputs
        gc.collect()
        reports.append({"left": card.used, "total": total})
        return io.NodeOutput([result[0] for result in results], reports)
