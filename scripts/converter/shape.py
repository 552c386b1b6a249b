"""Whether a file is built as ComfyUI builds workflows and prompts; said before it is read."""

from collections.abc import Mapping
from typing import Any

from comfyui.workflow_api import WorkflowError

_ID = int | str
# What is read of a wire; lists have it in this order.
_WIRE = {"id": int, "origin_id": _ID, "origin_slot": int}


def require_page(data: Mapping[str, Any]) -> None:
    """Raises WorkflowError, which names the place, for what the page does not save."""
    counts = {}
    for where, node in _mappings(data["nodes"], "nodes"):
        _require(node.get("id"), _ID, f"{where}.id")
        _require(node.get("type"), str, f"{where}.type")
        _require(node.get("widgets_values"), list | Mapping | None, f"{where}.widgets_values")
        for place, slot in _mappings(node.get("inputs"), f"{where}.inputs"):
            _require_input(place, slot)
        counts[str(node["id"])] = len(_mappings(node.get("outputs"), f"{where}.outputs"))
    ends = wires(data.get("links"))
    for where, node in _mappings(data["nodes"], "nodes"):
        for place, slot in _mappings(node.get("inputs"), f"{where}.inputs"):
            origin, output = ends.get(slot.get("link"), ("", 0))
            if not 0 <= output < counts.get(origin, output + 1):
                raise _malformed(f"{place}.link", f"a wire from output {output} of node {origin}")
    _require_boxes(data)


def require_api(prompt: Mapping[str, Any]) -> None:
    """Raises WorkflowError, which names the place, for what no export for the API holds."""
    for key, node in prompt.items():
        _require(node.get("inputs"), Mapping | None, f"{key}.inputs")
        _require(node.get("_meta"), Mapping | None, f"{key}._meta")


def _require_input(where: str, slot: Mapping[str, Any]) -> None:
    _require(slot.get("name"), str, f"{where}.name")
    _require(slot.get("link"), int | None, f"{where}.link")
    _require(slot.get("widget"), Mapping | None, f"{where}.widget")
    if slot.get("widget"):
        _require(slot["widget"].get("name"), str, f"{where}.widget.name")


def wires(links: Any) -> dict[Any, tuple[str, int]]:
    """Where each wire begins, by its number: node and output. Raises WorkflowError."""
    _require(links, list | None, "links")
    found = {}
    for number, link in enumerate(links or []):
        _require(link, list | Mapping | None, f"links[{number}]")
        if not link:
            continue
        given = [*map(link.get, _WIRE)] if isinstance(link, Mapping) else link[: len(_WIRE)]
        if len(given) < len(_WIRE):
            raise _malformed(f"links[{number}]", f"a list of {len(given)}")
        for (name, kind), value in zip(_WIRE.items(), given, strict=True):
            _require(value, kind, f"links[{number}].{name}")
        found[given[0]] = (str(given[1]), given[2])
    return found


def _require_boxes(data: Mapping[str, Any]) -> None:
    for name in ("definitions", "extra"):
        _require(data.get(name), Mapping | None, name)
    groups = (data.get("extra") or {}).get("groupNodes")
    _require(groups, Mapping | None, "extra.groupNodes")
    places = {
        "definitions.subgraphs": (data.get("definitions") or {}).get("subgraphs"),
        "extra.groupNodes": [*(groups or {}).values()],
    }
    for name, boxes in places.items():
        for where, box in _mappings(boxes, name):
            for place, node in _mappings(box.get("nodes"), f"{where}.nodes"):
                _require(node.get("type"), _ID | None, f"{place}.type")


def _mappings(value: Any, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The entries of a list that may be missing, each with its place."""
    _require(value, list | None, where)
    for number, entry in enumerate(value or []):
        _require(entry, Mapping, f"{where}[{number}]")
    return [(f"{where}[{number}]", entry) for number, entry in enumerate(value or [])]


def _require(value: Any, kind: Any, where: str) -> None:
    if not isinstance(value, kind):
        raise _malformed(where, "nothing" if value is None else f"of type {type(value).__name__}")


def _malformed(where: str, found: str) -> WorkflowError:
    return WorkflowError(
        f"This is no workflow as ComfyUI saves it: {where} is {found}; export it again from the "
        "page."
    )
