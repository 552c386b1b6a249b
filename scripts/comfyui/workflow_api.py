"""Turns a workflow as the page saves it into a prompt as the server takes it.

    prompt = to_api(json.load(file), server.object_info())

The page does this when a user presses Run: muted nodes go, bypassed nodes, reroutes and subgraphs
are seen through, notes are dropped, primitives become values. What the page alone can do is left
out: random choice in `{a|b}` prompts and `%date%` in file names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .workflow_widgets import widget_values

_MUTED, _BYPASSED = 2, 4
_SUBGRAPH_INPUT = -10
_NOTES = ("Note", "MarkdownNote")
_CONTROL = "control_after_generate"
_VIRTUAL = ("Reroute", "PrimitiveNode", *_NOTES)


class WorkflowError(ValueError):
    """The file is not a workflow, or cannot run on this server."""


@dataclass(frozen=True)
class _Value:
    """A widget value that arrives over a link: from a primitive or a subgraph's own widget."""

    value: Any


@dataclass(frozen=True)
class _Output:
    """An output of a node that stays in the prompt."""

    node: str
    slot: int


@dataclass(frozen=True)
class _Link:
    origin: str
    origin_slot: int


@dataclass
class _Graph:
    """The nodes and links of the workflow or of one subgraph definition."""

    definition: Mapping[str, Any]
    links: dict[Any, _Link] = field(init=False)

    def __post_init__(self) -> None:
        self.links = {}
        for link in self.definition.get("links", []):
            if isinstance(link, Mapping):
                origin = _Link(str(link["origin_id"]), link["origin_slot"])
                self.links[link["id"]] = origin
            elif link:
                self.links[link[0]] = _Link(str(link[1]), link[2])


@dataclass
class _Node:
    """A node where it runs; inside subgraphs its id is `host:node`."""

    data: Mapping[str, Any]
    graph: _Graph
    path: str
    host: "_Node | None"
    inside: _Graph | None = None

    @property
    def id(self) -> str:
        return f"{self.path}{self.data['id']}"

    @property
    def type(self) -> str:
        return self.data["type"]

    @property
    def mode(self) -> int:
        return self.data.get("mode", 0)

    @property
    def inputs(self) -> list[Mapping[str, Any]]:
        return self.data.get("inputs") or []


def to_api(workflow: Mapping[str, Any], object_info: Mapping[str, Any]) -> dict[str, Any]:
    """The API-format prompt of a saved workflow.

    object_info: the server's `/object_info`.
    Raises WorkflowError for a file that is not a workflow and for a node that the server lacks.
    """
    if not isinstance(workflow.get("nodes"), list):
        raise WorkflowError("This is not a workflow as ComfyUI saves it: it has no list of nodes.")
    nodes = _flatten(workflow)
    prompt = {}
    for node in nodes.values():
        if node.inside or node.type in _VIRTUAL or node.mode in (_MUTED, _BYPASSED):
            continue
        if node.type not in object_info:
            raise WorkflowError(
                f"The workflow uses the node {node.type} (id {node.id}), which this ComfyUI does "
                "not have; install the node pack it comes from or update ComfyUI."
            )
        info = object_info[node.type]
        prompt[node.id] = {
            "inputs": _inputs(node, info, nodes),
            "class_type": node.type,
            "_meta": {"title": node.data.get("title") or info.get("display_name") or node.type},
        }
    return prompt


def _inputs(node: _Node, info: Mapping[str, Any], nodes: Mapping[str, _Node]) -> dict[str, Any]:
    values = widget_values(node.data, info)
    if node.host is not None:
        values.update(_overrides(node.host, node.data["id"]))
    inputs = {name: _plain(value) for name, value in values.items() if value is not None}
    for slot in range(len(node.inputs)):
        source = _resolve_input(node, slot, nodes, node.inputs[slot].get("type", "*"))
        if isinstance(source, _Value):
            inputs[node.inputs[slot]["name"]] = _plain(source.value)
        elif isinstance(source, _Output):
            inputs[node.inputs[slot]["name"]] = [source.node, source.slot]
    return inputs


def _plain(value: Any) -> Any:
    """A list as a value must be distinguished from a link, which is a list of a node and a slot."""
    return {"__value__": value} if isinstance(value, list) else value


def _flatten(workflow: Mapping[str, Any]) -> dict[str, _Node]:
    """Every node that could run, by id, those inside of subgraphs included."""
    definitions = {
        definition["id"]: _Graph(definition)
        for definition in (workflow.get("definitions") or {}).get("subgraphs", [])
    }

    def walk(graph: _Graph, path: str, hosts: tuple[_Node, ...]) -> Iterator[_Node]:
        for data in graph.definition["nodes"]:
            inside = definitions.get(data["type"])
            node = _Node(data, graph, path, hosts[-1] if hosts else None, inside)
            yield node
            if inside and node.mode not in (_MUTED, _BYPASSED):
                if node.type in [host.type for host in hosts]:
                    raise WorkflowError(f"The subgraph {node.type} contains itself.")
                yield from walk(inside, f"{node.id}:", (*hosts, node))

    return {node.id: node for node in walk(_Graph(workflow), "", ())}


def _resolve_input(
    node: _Node,
    slot: int,
    nodes: Mapping[str, _Node],
    kind: str,
    seen: frozenset[str] = frozenset(),
) -> _Output | _Value | None:
    """What feeds an input, seen through everything that is not in the prompt; None: nothing."""
    here = f"{node.id}[{slot}]"
    if here in seen:
        raise WorkflowError(f"The workflow's links run in a circle through node {node.id}.")
    link = node.graph.links.get(node.inputs[slot].get("link"))
    if link is None:
        return None
    if link.origin == str(_input_node(node.graph)) and node.host is not None:
        return _resolve_host_input(node.host, node.graph, link, nodes, kind, seen | {here})
    origin = nodes.get(f"{node.path}{link.origin}")
    if origin is None:
        return None
    return _resolve_output(origin, link.origin_slot, nodes, kind, seen | {here})


def _resolve_host_input(
    host: _Node,
    graph: _Graph,
    link: _Link,
    nodes: Mapping[str, _Node],
    kind: str,
    seen: frozenset[str],
) -> _Output | _Value | None:
    """What a subgraph's input passes to the nodes inside: a link from outside, else its widget."""
    name = graph.definition["inputs"][link.origin_slot]["name"]
    for slot, entry in enumerate(host.inputs):
        if entry["name"] == name and entry.get("link") is not None:
            return _resolve_input(host, slot, nodes, kind, seen)
    values = _host_values(host)
    return _Value(values[name]) if name in values else None


def _resolve_output(
    node: _Node, slot: int, nodes: Mapping[str, _Node], kind: str, seen: frozenset[str]
) -> _Output | _Value | None:
    if node.mode == _MUTED or node.type in _NOTES:
        return None
    if node.mode == _BYPASSED:
        passed = _bypass(node, slot, kind)
        return None if passed is None else _resolve_input(node, passed, nodes, kind, seen)
    if node.inside:
        for entry in node.inside.definition.get("outputs", [])[slot : slot + 1]:
            for link_id in entry.get("linkIds", []):
                link = node.inside.links.get(link_id)
                inner = nodes.get(f"{node.id}:{link.origin}") if link else None
                if link and inner:
                    return _resolve_output(inner, link.origin_slot, nodes, kind, seen)
                if link and link.origin == str(_input_node(node.inside)):
                    return _resolve_host_input(node, node.inside, link, nodes, kind, seen)
        return None
    if node.type == "Reroute":
        return _resolve_input(node, 0, nodes, kind, seen) if node.inputs else None
    if node.type == "PrimitiveNode":
        values = node.data.get("widgets_values") or []
        return _Value(values[0]) if values else None
    return _Output(node.id, slot)


def _bypass(node: _Node, slot: int, kind: str) -> int | None:
    """The input that a bypassed node hands on as its output: the same place if the types agree,
    else the first of the wanted type, else the first that fits."""
    types = [entry.get("type", "*") for entry in node.inputs]
    outputs = node.data.get("outputs") or []
    output = outputs[slot].get("type", "*") if slot < len(outputs) else "*"
    if kind in ("*", "") and types:
        return slot if slot < len(types) else 0
    fits = [_agree(t, output) and _agree(t, kind) for t in types]
    if slot < len(types) and fits[slot]:
        return slot
    if kind in types:
        return types.index(kind)
    return fits.index(True) if True in fits else None


def _agree(one: Any, other: Any) -> bool:
    """Whether the page would let two slot types be linked."""
    kinds = [set(str(kind).lower().split(",")) for kind in (one, other)]
    return bool(kinds[0] & kinds[1]) or any(kind & {"*", "", "0"} for kind in kinds)


def _input_node(graph: _Graph) -> int:
    return (graph.definition.get("inputNode") or {}).get("id", _SUBGRAPH_INPUT)


def _host_values(host: _Node) -> dict[str, Any]:
    """The values that a subgraph's own widgets hold, by the name of the subgraph's input."""
    stored = host.data.get("widgets_values")
    if isinstance(stored, Mapping):
        return dict(stored)
    stored = stored or []
    named = [entry["name"] for entry in host.inputs if entry.get("widget")]
    for names in (_promoted(host), named):
        if stored and len(stored) == len(names):
            return dict(zip(names, stored, strict=True))
    proxies = host.data.get("properties", {}).get("proxyWidgets") or []
    if len(stored) == len(proxies):
        pairs = zip(proxies, stored, strict=True)
        return {proxy[1]: value for proxy, value in pairs if str(proxy[0]) == "-1"}
    return {}


def _overrides(host: _Node, node_id: Any) -> dict[str, Any]:
    """Widget values of an inner node that its subgraph shows, and holds, as its own."""
    stored = host.data.get("widgets_values")
    proxies = host.data.get("properties", {}).get("proxyWidgets") or []
    if not isinstance(stored, list) or not stored or len(stored) != len(proxies):
        return {}
    pairs = zip(proxies, stored, strict=True)
    return {p[1]: value for p, value in pairs if str(p[0]) == str(node_id) and p[1] != _CONTROL}


def _promoted(host: _Node) -> list[str]:
    """The inputs of a subgraph that feed a widget inside, in order."""
    assert host.inside is not None
    graph = host.inside
    names = []
    for slot, entry in enumerate(graph.definition.get("inputs", [])):
        fed = [
            target
            for data in graph.definition["nodes"]
            for target in data.get("inputs") or []
            if graph.links.get(target.get("link")) == _Link(str(_input_node(graph)), slot)
        ]
        if fed and fed[0].get("widget"):
            names.append(entry["name"])
    return names
