"""Our nodes, and those of ComfyUI that stand beside them, as the page saves them.

They come from the shipped workflows, so nothing has to run.
"""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

from comfyui.setup import PACK
from shipped.names import TITLES, file_name

AFTER_SEED = "fixed"
_SEEDS = ("seed", "noise_seed")


def _core(kind: str, widgets: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    """An image node of ComfyUI that no shipped workflow has."""
    return {
        "type": kind,
        "size": [320, 130],
        "inputs": [
            {"name": "image", "type": "IMAGE"},
            *({"name": n, "type": t, "widget": {"name": n}} for n, (t, _) in widgets.items()),
        ],
        "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
        "properties": {"Node name for S&R": kind, "cnr_id": "comfy-core"},
        "widgets_values": [value for _, value in widgets.values()],
    }


_MORE = (
    _core("ImageFromBatch", {"batch_index": ("INT", 0), "length": ("INT", 1)}),
    _core(
        "ImageScale",
        {
            "upscale_method": ("COMBO", "lanczos"),
            "width": ("INT", 512),
            "height": ("INT", 320),
            "crop": ("COMBO", "disabled"),
        },
    ),
)


@cache
def _all() -> dict[str, dict[str, Any]]:
    found = {node["type"]: node for node in _MORE}
    for short in TITLES:
        path = Path(PACK, "workflows", file_name(short))
        for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
            found.setdefault(node["type"], node)
    return found


def specimen(kind: str) -> dict[str, Any]:
    """A node of this type without wires and title."""
    node = copy.deepcopy(_all()[kind])
    node.pop("title", None)
    node["properties"].pop("models", None)
    for slot in node["inputs"]:
        slot["link"] = None
    for slot in node["outputs"]:
        slot["links"] = []
    return node


def widgets(node: dict[str, Any]) -> dict[str, Any]:
    """A specimen's values by the names of its inputs."""
    values = iter(node["widgets_values"])
    found = {}
    for slot in node["inputs"]:
        if "widget" in slot:
            found[slot["name"]] = next(values)
            if slot["name"] in _SEEDS:
                next(values)
    return found


def listed(values: dict[str, Any]) -> list[Any]:
    """Values as the page lists them."""
    found = []
    for name, value in values.items():
        found += [value, AFTER_SEED] if name in _SEEDS else [value]
    return found
