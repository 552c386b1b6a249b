"""A workflow's nodes and wires, read from and written to both of ComfyUI's layouts.

The page's own layout has lists of nodes and links; the API's maps ids to class and inputs. Reroutes
and KJNodes' Get and Set are seen through: their wires run straight.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from comfyui.workflow_api import WorkflowError
from converter.packs import CORE, FOREIGN
from converter.shape import require_api, require_page, wires
from converter.specimens import listed, specimen, widgets

_CONTROLS = ("fixed", "increment", "decrement", "randomize", "increment-wrap")
_SEEDS = ("seed", "noise_seed")
_NOTES = ("Note", "MarkdownNote")
GAP, BETWEEN, TITLE = 100, 70, 30


class Link(NamedTuple):
    """An output of a node."""

    node: str
    slot: int


@dataclass
class Node:
    """One node; `raw` is as its file has it, None for a node of ours."""

    id: str
    type: str
    values: dict[str, Any] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    title: str | None = None
    state: int = 0  # 2: muted, 4: bypassed
    raw: Mapping[str, Any] | None = None


@dataclass
class Graph:
    """Nodes by id. `lost` collects sentences on what was not carried over."""

    nodes: dict[str, Node] = field(default_factory=dict)
    page: bool = True
    lost: list[str] = field(default_factory=list)

    def add(self, kind: str, *, title: str | None = None, state: int = 0, **inputs: Any) -> Node:
        """A node of ours; inputs are links or values, None for what stays as it is."""
        given = {name: value for name, value in inputs.items() if value is not None}
        node = Node(self._free_id(), kind, widgets(specimen(kind)), title=title, state=state)
        for name, value in given.items():
            (node.links if isinstance(value, Link) else node.values)[name] = value
        self.nodes[node.id] = node
        return node

    def redirect(self, old: Link, new: Link) -> None:
        """Everything that `old` fed is fed by `new`."""
        for node in self.nodes.values():
            for name, link in node.links.items():
                if link == old:
                    node.links[name] = new

    def remove(self, gone: set[str]) -> None:
        """Takes nodes out; wires from them end."""
        self.nodes = {key: node for key, node in self.nodes.items() if key not in gone}
        for node in self.nodes.values():
            for name, link in [*node.links.items()]:
                if link.node not in self.nodes:
                    del node.links[name]
                    self.say(f"{node.type} ({node.id}): nothing feeds `{name}` any more")

    def consumers(self, node_id: str) -> Iterator[tuple[Node, str, int]]:
        """(node, input, slot) of every wire that leaves a node."""
        for node in self.nodes.values():
            for name, link in node.links.items():
                if link.node == node_id:
                    yield node, name, link.slot

    def upstream(self, node: Node) -> Iterator[Node]:
        """All that feeds a node, the nearest first."""
        seen, queue = {node.id}, [node]
        while queue:
            for link in queue.pop(0).links.values():
                if link.node in self.nodes and link.node not in seen:
                    seen.add(link.node)
                    queue.append(self.nodes[link.node])
                    yield self.nodes[link.node]

    def say(self, sentence: str) -> None:
        """Notes what was not carried over, once."""
        if sentence not in self.lost:
            self.lost.append(sentence)

    def _free_id(self) -> str:
        numbers = [int(part) for key in self.nodes for part in key.split(":") if part.isdecimal()]
        return str(max(numbers, default=0) + 1)


def read(data: Any) -> Graph:
    """The graph of a workflow or prompt.

    Raises WorkflowError for anything else, and for boxes with nodes of other packs inside.
    """
    if isinstance(data, Mapping) and isinstance(data.get("nodes"), list):
        return _read_page(data)
    prompt = data.get("prompt", data) if isinstance(data, Mapping) else None
    if isinstance(prompt, Mapping) and prompt and all(map(_is_api_node, prompt.values())):
        return _read_api(prompt)
    raise WorkflowError(
        "This is neither a workflow as ComfyUI saves it nor one exported for the API; export it "
        "again from the page."
    )


def _is_api_node(node: Any) -> bool:
    return isinstance(node, Mapping) and isinstance(node.get("class_type"), str)


def _read_api(prompt: Mapping[str, Any]) -> Graph:
    require_api(prompt)
    graph = Graph(page=False)
    for key, entry in prompt.items():
        title = (entry.get("_meta") or {}).get("title")
        node = Node(str(key), entry["class_type"], title=title, raw=entry)
        for name, value in (entry.get("inputs") or {}).items():
            if _is_api_link(value) and str(value[0]) in prompt:
                node.links[name] = Link(str(value[0]), value[1])
            else:
                node.values[name] = value
        graph.nodes[node.id] = node
    return graph


def _is_api_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[1], int)


def _read_page(data: Mapping[str, Any]) -> Graph:
    require_page(data)
    _refuse_boxes(data)
    graph = Graph()
    links = {number: Link(*end) for number, end in wires(data.get("links")).items()}
    for entry in data["nodes"]:
        node = Node(str(entry["id"]), entry["type"], state=entry.get("mode", 0), raw=entry)
        node.title = entry.get("title")
        for slot in entry.get("inputs") or []:
            if slot.get("link") in links:
                node.links[slot["name"]] = links[slot["link"]]
        node.values = _values(graph, entry)
        graph.nodes[node.id] = node
    _straighten(graph)
    if data.get("groups"):
        graph.say("Coloured groups: the nodes stand in new places, so the groups are gone")
    return graph


def _refuse_boxes(data: Mapping[str, Any]) -> None:
    boxes = (data.get("definitions") or {}).get("subgraphs") or []
    groups = ((data.get("extra") or {}).get("groupNodes") or {}).values()
    inside = [n.get("type") for box in [*boxes, *groups] for n in box.get("nodes") or []]
    if found := sorted({str(kind) for kind in inside if kind in FOREIGN}):
        raise WorkflowError(
            f"{', '.join(found)} stands inside a subgraph or group node; unpack it in the page "
            "(right-click), save the workflow again and convert that."
        )


def _values(graph: Graph, entry: Mapping[str, Any]) -> dict[str, Any]:
    """A node's values by name: as its file names them, else in the order that we know."""
    foreign = FOREIGN.get(entry["type"])
    known = foreign.widgets if foreign else CORE.get(entry["type"], {})
    stored = entry.get("widgets_values")
    if isinstance(stored, Mapping):
        return dict(stored)
    named = [s["widget"]["name"] for s in entry.get("inputs") or [] if s.get("widget")]
    order = named if len(named) >= len(known) else list(known)
    rest, found = list(stored or []), {}
    for name in order:
        if not rest:
            break
        value = rest.pop(0)
        if name in _SEEDS and rest and rest[0] in _CONTROLS:
            rest.pop(0)
        if name not in known or _fits(value, known[name]):
            found[name] = value
        else:
            graph.say(
                f"{entry['type']} ({entry['id']}): `{name}` reads {value!r} in the file; the "
                "default is taken, please compare"
            )
    return found


def _fits(value: Any, default: Any) -> bool:
    """Whether a value is of the default's kind; a whole number is a fraction, too."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, int | float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))


def _straighten(graph: Graph) -> None:
    sets = {_label(n): n for n in graph.nodes.values() if n.type == "SetNode"}
    gone = {}
    for node in graph.nodes.values():
        if node.type in ("Reroute", "SetNode"):
            gone[node.id] = next(iter(node.links.values()), None)
        elif node.type == "GetNode" and _label(node) in sets:
            gone[node.id] = Link(sets[_label(node)].id, 0)

    def source(link: Link) -> Link | None:
        seen: set[str] = set()
        found: Link | None = link
        while found is not None and found.node in gone and found.node not in seen:
            seen.add(found.node)
            found = gone[found.node]
        return found if found is not None and found.node not in gone else None

    graph.nodes = {key: node for key, node in graph.nodes.items() if key not in gone}
    for node in graph.nodes.values():
        ends = {name: source(link) for name, link in node.links.items()}
        node.links = {
            name: link for name, link in ends.items() if link and link.node in graph.nodes
        }


def _label(node: Node) -> str:
    values = (node.raw or {}).get("widgets_values") or [""]
    return str(next(iter(values.values())) if isinstance(values, Mapping) else values[0])


def write(graph: Graph) -> dict[str, Any]:
    """The graph in the layout that it was read from."""
    return _write_page(graph) if graph.page else _write_api(graph)


def _write_api(graph: Graph) -> dict[str, Any]:
    written = {}
    for node in graph.nodes.values():
        links = {name: list(link) for name, link in node.links.items()}
        written[node.id] = {
            "inputs": {**node.values, **links},
            "class_type": node.type,
            "_meta": {"title": node.title or node.type},
        }
    return written


def _write_page(graph: Graph) -> dict[str, Any]:
    saved = {node.id: _saved(node) for node in graph.nodes.values()}
    links: list[list[Any]] = []
    for node in graph.nodes.values():
        slots = saved[node.id]["inputs"]
        for name, link in node.links.items():
            at = next((i for i, slot in enumerate(slots) if slot["name"] == name), None)
            if at is None:
                raise WorkflowError(
                    f"{node.type} ({node.id}) has no input `{name}`, which it needs here; make the "
                    "node anew in the page and save the workflow again."
                )
            output = saved[link.node]["outputs"][link.slot]
            ends = [saved[link.node]["id"], link.slot, saved[node.id]["id"], at]
            links.append([len(links) + 1, *ends, output.get("type", "*")])
            slots[at]["link"] = len(links)
            output["links"].append(len(links))
    _place(graph, saved)
    numbers = [entry["id"] for entry in saved.values() if isinstance(entry["id"], int)]
    return {
        "last_node_id": max(numbers, default=0),
        "last_link_id": len(links),
        "nodes": list(saved.values()),
        "links": links,
        "groups": [],
        "config": {},
        "extra": {"ds": {"scale": 0.7, "offset": [120, 180]}},
        "version": 0.4,
    }


def _saved(node: Node) -> dict[str, Any]:
    if node.raw is None:
        entry = specimen(node.type)
        entry |= {"id": int(node.id), "flags": {}, "mode": node.state, "order": 0}
        entry["widgets_values"] = listed(node.values)
    else:
        entry = copy.deepcopy(dict(node.raw))
    if node.title:
        entry["title"] = node.title
    for name in ("inputs", "outputs"):
        entry[name] = entry.get(name) or []
    for slot in entry["inputs"]:
        slot["link"] = None
    for slot in entry["outputs"]:
        slot["links"] = []
    return entry


def _place(graph: Graph, saved: Mapping[str, dict[str, Any]]) -> None:
    """Columns from left to right in the order of the wires; notes stand in the first."""
    columns: dict[int, list[str]] = {}
    depths: dict[str, int] = {}

    def depth(key: str, above: frozenset[str] = frozenset()) -> int:
        if key not in depths:
            before = [link.node for link in graph.nodes[key].links.values()]
            below = [depth(n, above | {key}) + 1 for n in before if n not in above]
            depths[key] = max(below, default=0)
        return depths[key]

    for key in graph.nodes:
        columns.setdefault(depth(key), []).append(key)
    x = 0.0
    for number in sorted(columns):
        keys = sorted(columns[number], key=lambda k: graph.nodes[k].type in _NOTES)
        y = 0.0
        for key in keys:
            _, height = _size(saved[key])
            saved[key]["pos"] = [x, y]
            saved[key]["order"] = number
            y += height + BETWEEN + TITLE
        x += max(_size(saved[key])[0] for key in keys) + GAP


def _size(entry: Mapping[str, Any]) -> tuple[float, float]:
    """Width and height; old files have a mapping in place of a list."""
    size = entry.get("size")
    sides = [*size.values()] if isinstance(size, Mapping) else size
    if isinstance(sides, list) and len(sides) == 2 and all(map(_is_side, sides)):
        return float(sides[0]), float(sides[1])
    return 320.0, 200.0


def _is_side(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < 1e6
