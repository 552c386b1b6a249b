"""What a node of another pack gets: its pictures, words, size and settings, in our terms."""

from collections.abc import Sequence
from typing import Any

from converter.graph import Graph, Link, Node
from converter.packs import BATCHES, FOREIGN, MEANS, Role, role

SUFFIXES = (".ckpt", ".safetensors", ".pt", ".pth", ".bin")
LAST = 4095  # of a batch: larger numbers mean its last image
SIZES = {"1024": (1024, 576), "viewcrafter": (1024, 576), "256": (256, 256)}
USUAL = (512, 320)
_IMAGES = ("image", "image1", "images")
_ENDS = ("image2", "image_2", "end_image", "last_image")


def settings(graph: Graph, node: Node) -> dict[str, Any]:
    """Values and wires of a foreign node under our names; says which have no counterpart."""
    foreign = FOREIGN[node.type]
    names = {**MEANS, **foreign.means}
    found = {}
    for name, given in {**node.values, **node.links}.items():
        if name in foreign.lost:
            if isinstance(given, Link) or given not in (foreign.widgets.get(name), 0, False, ""):
                graph.say(
                    f"{node.type} ({node.id}), {name} = {_shown(given)}: {foreign.lost[name]}"
                )
        else:
            found[names.get(name, name)] = given
    return found


def _shown(given: Any) -> str:
    return "a wire" if isinstance(given, Link) else str(given)


def file_name(node: Node) -> str:
    """The model file that a loader names; empty where it names none."""
    texts = [value for value in node.values.values() if isinstance(value, str)]
    return next((text for text in texts if text.endswith(SUFFIXES)), "")


def pictures(graph: Graph, node: Node) -> tuple[Link | None, Link | None]:
    """The first picture and the last; the last is None where there is one picture only."""
    first = next((node.links[name] for name in _IMAGES if name in node.links), None)
    last = next((node.links[name] for name in _ENDS if name in node.links), None)
    if first is None or last is not None:
        return first, last
    every = batch(graph, first)
    return every[0], every[-1] if len(every) > 1 else None


def batch(graph: Graph, link: Link, within: frozenset[str] = frozenset()) -> list[Link]:
    """The images that a batch is made of, where it can be seen; else the batch.

    within: batches that this one is a part of; one that feeds itself is taken as it is.
    """
    node = graph.nodes.get(link.node)
    if node is None or node.type not in BATCHES or node.id in within:
        return [link]
    names = sorted((n for n in node.links if n.startswith("image")), key=_number)
    parts = [node.links[name] for name in names]
    return [leaf for part in parts for leaf in batch(graph, part, within | {node.id})] or [link]


def _number(name: str) -> int:
    return int("".join(filter(str.isdigit, name)) or 0)


def picked(graph: Graph, link: Link, number: int) -> Link:
    """One image of a batch."""
    return Link(graph.add("ImageFromBatch", image=link, batch_index=number, length=1).id, 0)


def ends(graph: Graph, node: Node) -> tuple[Link | None, Link | None]:
    """Both pictures of an interpolation; out of one batch where they come as one."""
    first, last = pictures(graph, node)
    if first is not None and last is None:
        return picked(graph, first, 0), picked(graph, first, LAST)
    return first, last


def size(graph: Graph, node: Node, checkpoint: str) -> tuple[int, int]:
    """Width and height: of the resizing on the way, else the usual ones of the checkpoint."""
    for one in graph.upstream(node):
        if one.type == "ImageScale" or role(one.type) is Role.RESIZE:
            given = [one.values.get(name) for name in ("width", "height")]
            if all(isinstance(value, int) and value >= 8 for value in given):
                width, height = (value // 8 * 8 for value in given if isinstance(value, int))
                return width, height
    name = checkpoint.lower()
    width, height = next((pair for mark, pair in SIZES.items() if mark in name), USUAL)
    graph.say(
        f"{node.type} ({node.id}): the size came from the picture; it is {width} x {height} now, "
        "usual for this checkpoint"
    )
    return width, height


def words(graph: Graph, link: Any) -> tuple[str | Link, Link | None]:
    """The text behind a conditioning, and the CLIP that reads it."""
    node = graph.nodes.get(link.node) if isinstance(link, Link) else None
    if node is None or "clip" not in node.links:
        return "", None
    text = node.links.get("text") or node.values.get("text", "")
    return text, node.links["clip"]


def nearest(graph: Graph, node: Node, roles: Sequence[Role]) -> Node | None:
    """The nearest node before this one with one of these roles."""
    return next((one for one in graph.upstream(node) if role(one.type) in roles), None)
