"""Our loaders and helpers in place of those of other packs."""

from dataclasses import dataclass

from converter import sources
from converter.graph import Graph, Link, Node
from converter.packs import FOREIGN, Role, role

DTYPES = ("fp32", "fp16", "bf16")
METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")


@dataclass
class Work:
    """The graph, and our loader in place of each of theirs."""

    graph: Graph
    loaders: dict[str, Node]

    def loader(self, node: Node) -> Node:
        """Our loader for a foreign node; a new one where none feeds it."""
        theirs = sources.nearest(self.graph, node, [Role.LOADER])
        key = theirs.id if theirs else node.id
        if key not in self.loaders:
            name = sources.file_name(node)
            if not name:
                self.graph.say(f"{node.type} ({node.id}): choose the checkpoint in the loader")
            self.loaders[key] = self.graph.add("DynamiCrafterCheckpointLoader", ckpt_name=name)
        return self.loaders[key]


def load(work: Work, node: Node) -> None:
    """A checkpoint's loader."""
    given = sources.settings(work.graph, node)
    name = sources.file_name(node)
    if "downloaded" in given:
        name = f"dynamicrafter/{name}"
    dtype = given["dtype"] if given.get("dtype") in DTYPES else "default"
    if given.get("fp8_unet") is True:
        dtype = "fp8_e4m3fn"
    work.loaders[node.id] = work.graph.add(
        "DynamiCrafterCheckpointLoader",
        state=node.state,
        ckpt_name=name,
        weight_dtype=dtype,
    )
    if not name:
        work.graph.say(f"{node.type} ({node.id}): choose the checkpoint in the loader")
    elif "Wrapper" not in FOREIGN[node.type].pack:
        work.graph.say(f"{name}: move it to models/checkpoints if it lies elsewhere")


def hand_on(work: Work, node: Node) -> None:
    """What a loader still feeds is fed by ours."""
    work.graph.redirect(Link(node.id, 0), Link(work.loaders[node.id].id, 0))


def load_encoder(work: Work, node: Node) -> None:
    """The text or image encoder's loader."""
    kind = "CLIPLoader" if role(node.type) is Role.CLIP else "CLIPVisionLoader"
    more = {"type": "stable_diffusion"} if kind == "CLIPLoader" else {}
    made = work.graph.add(kind, state=node.state, clip_name=sources.file_name(node), **more)
    work.graph.redirect(Link(node.id, 0), Link(made.id, 0))


def resize(work: Work, node: Node) -> None:
    """A picture's size."""
    values = node.values
    method = values.get("upscale_method", "lanczos")
    made = work.graph.add(
        "ImageScale",
        state=node.state,
        image=node.links.get("image") or node.links.get("images"),
        upscale_method=method if method in METHODS else "lanczos",
        width=node.links.get("width") or values.get("width"),
        height=node.links.get("height") or values.get("height"),
        crop="center" if values.get("keep_proportion") else "disabled",
    )
    work.graph.redirect(Link(node.id, 0), Link(made.id, 0))


def save(work: Work, node: Node) -> None:
    """A video file."""
    given = sources.settings(work.graph, node)
    made = work.graph.add(
        "CreateVideo",
        state=node.state,
        images=node.links.get("images"),
        audio=node.links.get("audio"),
        fps=given.get("frame_rate"),
    )
    prefix = given.get("filename_prefix")
    work.graph.add("SaveVideo", state=node.state, video=Link(made.id, 0), filename_prefix=prefix)
