"""Nodes and wires of a workflow, as the page saves them."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfyui.workflow_widgets import input_type, is_widget
from shipped.files import BY_NAME

PACK_ID = "dynamicrafter-nodes"
CORE_ID = "comfy-core"
NOTE = "MarkdownNote"
# Heights that the page gives to parts of a node, in its own pixels.
_SLOT, _WIDGET, _FRAME, _TEXT, _PICTURE = 20, 24, 20, 104, 290
_SHOWS_PICTURE = {"LoadImage", "SaveVideo", "SaveImage", "PreviewImage", "LoadVideo"}
_SEEDS = ("seed", "noise_seed")
_UPLOADS = ("image_upload", "video_upload", "file_upload")
# Inputs of stock nodes that the oldest supported host lacks; a newer page adds their defaults.
_YOUNGER = {
    "CreateVideo": ("bit_depth",),
    "ContextWindowsManual": ("latent_retain_index_list", "causal_window_fix"),
}
_OPTIONAL = 7  # the shape of an optional socket

ObjectInfo = Mapping[str, Any]


@dataclass(frozen=True)
class Output:
    """An output of a node; give it as the value of another node's input."""

    node: "Node"
    slot: int
    type: str


@dataclass
class Node:
    """One node: `inputs` maps input names to values or outputs of other nodes."""

    id: int
    type: str
    title: str | None
    inputs: dict[str, Any]
    info: Mapping[str, Any]
    size: tuple[int, int]
    pos: tuple[int, int] = (0, 0)
    mode: int = 0

    def __getitem__(self, name: str) -> Output:
        """An output by its name."""
        slot = self.info["output_name"].index(name)
        return Output(self, slot, self.info["output"][slot])

    @property
    def specs(self) -> dict[str, tuple[bool, Sequence[Any]]]:
        """Each input's optionality and specification, in the page's order."""
        found = {}
        for group in ("required", "optional"):
            for name, spec in (self.info.get("input", {}).get(group) or {}).items():
                if name not in _YOUNGER.get(self.type, ()):
                    found[name] = (group == "optional", spec)
        return found

    @property
    def slots(self) -> list[tuple[str, str, bool, bool]]:
        """(name, type, optional, is a widget) of each input slot, sockets before widgets."""
        sockets, widgets = [], []
        for name, (optional, spec) in self.specs.items():
            if input_type(spec) == "COMFY_AUTOGROW_V3":
                count = sum(key.startswith(f"{name}.") for key in self.inputs) + 1
                stem = spec[1]["template"].get("prefix", "image")
                sockets += [(f"{name}.{stem}{i}", "IMAGE", i >= 2, False) for i in range(count)]
            elif is_widget(spec) or input_type(spec) == "COMFY_DYNAMICCOMBO_V3":
                widgets.append((name, input_type(spec), optional, True))
            else:
                sockets.append((name, input_type(spec), optional, False))
        return sockets + widgets

    def slot_of(self, name: str) -> int:
        """Where an input stands among the slots."""
        return [slot[0] for slot in self.slots].index(name)

    @property
    def widget_values(self) -> list[Any]:
        """The values as the page lists them."""
        values = []
        for name, (_, spec) in self.specs.items():
            options = spec[1] if len(spec) > 1 else {}
            kind = input_type(spec)
            if not (is_widget(spec) or kind == "COMFY_DYNAMICCOMBO_V3"):
                continue
            given = self.inputs.get(name)
            values.append(
                _default(name, spec) if given is None or isinstance(given, Output) else given
            )
            if options.get("control_after_generate", kind == "INT" and name in _SEEDS):
                values.append("fixed")
        options = [spec[1] for _, spec in self.specs.values() if len(spec) > 1]
        if any(option.get(upload) for option in options for upload in _UPLOADS):
            values.append("image")
        return values


@dataclass
class Sheet:
    """A workflow in the making; its nodes are numbered from `first` on."""

    object_info: ObjectInfo
    first: int = 1
    nodes: list[Node] = field(default_factory=list)

    def add(
        self,
        type_: str,
        *,
        title: str | None = None,
        wide: int = 340,
        tall: int | None = None,
        **inputs: Any,
    ) -> Node:
        """A new node, `wide` and `tall` on the page.

        Raises KeyError for a node or an input that the server does not have.
        """
        info = self.object_info[type_]
        node = Node(self.first + len(self.nodes), type_, title, inputs, info, (wide, 0))
        names = {slot[0] for slot in node.slots}
        if unknown := set(inputs) - names:
            raise KeyError(f"{type_} has no input {', '.join(sorted(unknown))}")
        node.size = (wide, tall or _height(node))
        self.nodes.append(node)
        return node

    def note(self, text: str, width: int = 540, height: int | None = None) -> Node:
        """A note, as tall as its text needs at this width."""
        node = Node(self.first + len(self.nodes), NOTE, "Read me", {"text": text}, {}, (width, 0))
        node.size = (width, height or _note_height(text, width))
        self.nodes.append(node)
        return node

    @property
    def links(self) -> list[tuple[int, Output, Node, str]]:
        """(id, output, target, input name) of every wire."""
        found = []
        for node in self.nodes:
            for name, _, _, _ in node.slots if node.type != NOTE else ():
                if isinstance(node.inputs.get(name), Output):
                    found.append((len(found) + 1, node.inputs[name], node, name))
        return found

    def saved_nodes(
        self, links: Sequence[tuple[int, Output, Node, str]] | None = None
    ) -> list[dict[str, Any]]:
        """The nodes as the page saves them; `links`: where there are more than this sheet's."""
        links = self.links if links is None else links
        return [_saved(node, order, links) for order, node in enumerate(self.nodes)]

    def saved_links(self) -> list[list[Any]]:
        """The wires as the page saves them."""
        return [
            [link, output.node.id, output.slot, target.id, target.slot_of(name), output.type]
            for link, output, target, name in self.links
        ]


def identity(name: str) -> str:
    """The same UUID for the same name, so writing again changes nothing."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PACK_ID}/{name}"))


def _saved(node: Node, order: int, links: Sequence[Any]) -> dict[str, Any]:
    saved: dict[str, Any] = {
        "id": node.id,
        "type": node.type,
        "pos": list(node.pos),
        "size": list(node.size),
        "flags": {},
        "order": order,
        "mode": node.mode,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [node.inputs["text"]] if node.type == NOTE else node.widget_values,
    }
    if node.title:
        saved["title"] = node.title
    if node.type == NOTE:
        return saved
    into = {name: link for link, _, target, name in links if target is node}
    saved["inputs"] = [_saved_slot(*slot, into.get(slot[0])) for slot in node.slots]
    saved["outputs"] = [
        {
            "name": name,
            "type": kind,
            "links": [k for k, output, _, _ in links if output.node is node and output.slot == i],
        }
        for i, (name, kind) in enumerate(
            zip(node.info["output_name"], node.info["output"], strict=True)
        )
    ]
    ours = node.type.startswith("DynamiCrafter")
    cnr_id = PACK_ID if ours else CORE_ID
    properties: dict[str, Any] = {"Node name for S&R": node.type, "cnr_id": cnr_id}
    models = [BY_NAME[v].entry for v in node.widget_values if isinstance(v, str) and v in BY_NAME]
    saved["properties"] = properties | ({"models": models} if models else {})
    return saved


def _saved_slot(
    name: str, kind: str, optional: bool, widget: bool, link: int | None
) -> dict[str, Any]:
    slot: dict[str, Any] = {"name": name, "type": kind}
    if "." in name:  # of a growing list
        slot = {"label": name.split(".")[1], **slot}
    if widget:
        slot["widget"] = {"name": name}
    slot["link"] = link
    if optional and not widget:
        slot["shape"] = _OPTIONAL
    return slot


def _note_height(text: str, width: int) -> int:
    """What the page needs to show a note, by its headings, table rows and lines of text."""
    height = 70
    for line in filter(None, text.splitlines()):
        shown = re.sub(r"\]\(\S+\)", "", line)
        lines = -(-len(shown) // ((width - 60) // 5))
        height += 38 if line.startswith("#") else 26 if line.startswith("|") else 10 + 16 * lines
    return height


def _height(node: Node) -> int:
    sockets = sum(not widget for *_, widget in node.slots)
    values = [v for v in node.widget_values if v != "image"]
    texts = sum(bool(len(spec) > 1 and spec[1].get("multiline")) for _, spec in node.specs.values())
    picture = _PICTURE if node.type in _SHOWS_PICTURE else 0
    slots = max(sockets, len(node.info["output"]))
    return _SLOT * slots + _WIDGET * (len(values) - texts) + _TEXT * texts + picture + _FRAME


def _default(name: str, spec: Sequence[Any]) -> Any:
    if name.endswith("_name"):
        return ""  # A file of the server's own.
    options = spec[1] if len(spec) > 1 else {}
    if "default" in options:
        return options["default"]
    if input_type(spec) == "COMFY_DYNAMICCOMBO_V3":
        return options["options"][0]["key"]
    choices = spec[0] if isinstance(spec[0], list) else options.get("options")
    if choices:
        return choices[0]
    return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(input_type(spec), "")
