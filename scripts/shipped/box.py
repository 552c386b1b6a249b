"""A subgraph blueprint: a workflow as one node, as the page saves it."""

from dataclasses import dataclass, field
from typing import Any

from shipped.files import BY_NAME
from shipped.layout import Group, Layout, saved_group
from shipped.sheet import PACK_ID, Node, Output, Sheet, identity

INPUT, OUTPUT = -10, -20  # the page's ids for a subgraph's ends
_END_WIDTH = 160
_WIDGET_TYPES = ("COMBO", "STRING", "INT", "FLOAT", "BOOLEAN")


@dataclass
class Box:
    """A subgraph in the making: `sheet` is its inside."""

    name: str
    description: str
    sheet: Sheet
    defaults: dict[str, Any] = field(default_factory=dict)
    start: Node = field(init=False)
    end: Node = field(init=False)

    def __post_init__(self) -> None:
        empty: dict[str, Any] = {"output_name": [], "output": []}
        self.start = Node(INPUT, "start", None, {}, empty, (_END_WIDTH, 0))
        self.end = Node(OUTPUT, "end", None, {}, {}, (_END_WIDTH, 0))

    def input(self, name: str, kind: str, default: Any = None) -> Output:
        """An input of the box; give it as the value of an inner node's input."""
        self.start.info["output_name"].append(name)
        self.start.info["output"].append(kind)
        if kind in _WIDGET_TYPES:
            self.defaults[name] = default
        return self.start[name]

    def outputs(self, **given: Output) -> None:
        """The outputs of the box."""
        self.end.inputs.update(given)
        required = {name: [output.type] for name, output in given.items()}
        self.end.info = {"input": {"required": required}, "output_name": [], "output": []}

    def finish(self, groups: list[Group]) -> dict[str, Any]:
        """The definition, with the ends placed before and after the groups."""
        for end, count in ((self.start, len(self.start.info["output"])), (self.end, 3)):
            end.size = (_END_WIDTH, 20 * count + 40)
        self.sheet.nodes += [self.start, self.end]
        ends = [Group("", "model", [[self.start]]), Group("", "video", [[self.end]])]
        layout = Layout(self.sheet, [ends[0], *groups, ends[1]])
        layout.place()
        self.sheet.nodes[-2:] = []
        links = [
            {
                "id": link,
                "origin_id": output.node.id,
                "origin_slot": output.slot,
                "target_id": target.id,
                "target_slot": target.slot_of(name),
                "type": output.type,
            }
            | ({"parentId": layout.parents[link]} if link in layout.parents else {})
            for link, output, target, name in self._links()
        ]
        return self._definition(layout, groups, links)

    def _links(self) -> list[tuple[int, Output, Node, str]]:
        self.sheet.nodes += [self.start, self.end]
        links = self.sheet.links
        self.sheet.nodes[-2:] = []
        return links

    def _definition(
        self, layout: Layout, groups: list[Group], links: list[dict[str, Any]]
    ) -> dict[str, Any]:
        return {
            "id": identity(self.name),
            "version": 1,
            "state": {
                "lastGroupId": len(groups),
                "lastNodeId": self.sheet.nodes[-1].id,
                "lastLinkId": len(links),
                "lastRerouteId": len(layout.reroutes),
            },
            "revision": 0,
            "config": {},
            "name": self.name,
            "inputNode": {"id": INPUT, "bounding": [*self.start.pos, *self.start.size]},
            "outputNode": {"id": OUTPUT, "bounding": [*self.end.pos, *self.end.size]},
            "inputs": self._ends(self.start.info, links, "origin"),
            "outputs": self._ends(
                {
                    "output_name": list(self.end.inputs),
                    "output": [output.type for output in self.end.inputs.values()],
                },
                links,
                "target",
            ),
            "widgets": [],
            "nodes": self._nodes(),
            "groups": [saved_group(i, group) for i, group in enumerate(groups, 1)],
            "links": links,
            "reroutes": [point.saved() for point in layout.reroutes],
            "extra": {},
            "category": "Video generation and editing/DynamiCrafter",
            "description": self.description,
        }

    def _ends(self, info: Any, links: list[dict[str, Any]], end: str) -> list[dict[str, Any]]:
        node = self.start if end == "origin" else self.end
        return [
            {
                "id": identity(f"{self.name}/{end}/{name}"),
                "name": name,
                "type": kind,
                "linkIds": [
                    link["id"]
                    for link in links
                    if (link[f"{end}_id"], link[f"{end}_slot"]) == (node.id, slot)
                ],
                "pos": [node.pos[0] + 20, node.pos[1] + 20 + 20 * slot],
            }
            for slot, (name, kind) in enumerate(
                zip(info["output_name"], info["output"], strict=True)
            )
        ]

    def _nodes(self) -> list[dict[str, Any]]:
        saved = self.sheet.saved_nodes(self._links())
        for node in saved:
            for value in self.defaults.values():
                if isinstance(value, str) and value in BY_NAME and _loads(node):
                    node["properties"]["models"] = [BY_NAME[value].entry]
        return saved

    def info(self) -> dict[str, Any]:
        """The box as if the server knew it as a node."""
        required: dict[str, Any] = {}
        for name, kind in zip(
            self.start.info["output_name"], self.start.info["output"], strict=True
        ):
            options = {"default": self.defaults.get(name), "control_after_generate": False}
            required[name] = [kind, options]
        return {
            "input": {"required": required},
            "output": [output.type for output in self.end.inputs.values()],
            "output_name": list(self.end.inputs),
        }

    def put(self, sheet: Sheet, **inputs: Any) -> Node:
        """The box as a node of another sheet."""
        node = Node(
            len(sheet.nodes) + 1, identity(self.name), self.name, inputs, self.info(), (420, 0)
        )
        widgets = len(self.defaults)
        node.size = (420, 20 * 3 + 24 * widgets + 2 * 60 + 40)
        sheet.nodes.append(node)
        return node

    def dress(self, saved: dict[str, Any]) -> dict[str, Any]:
        """What the page keeps of a box's own widgets."""
        models = [
            BY_NAME[v].entry for v in self.defaults.values() if isinstance(v, str) and v in BY_NAME
        ]
        saved["properties"] = {
            "proxyWidgets": [["-1", name] for name in self.defaults],
            "cnr_id": PACK_ID,
            "models": models,
        }
        return saved


def _loads(node: dict[str, Any]) -> bool:
    return node["type"] == "DynamiCrafterCheckpointLoader"


def blueprint(box: Box, definition: dict[str, Any]) -> dict[str, Any]:
    """The file of a box that stands alone."""
    sheet = Sheet({})
    node = box.put(sheet)
    (saved,) = sheet.saved_nodes()
    return {
        "revision": 0,
        "last_node_id": node.id,
        "last_link_id": 0,
        "nodes": [box.dress(saved)],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [definition]},
        "config": {},
        "extra": {"BlueprintDescription": box.description},
        "version": 0.4,
    }
