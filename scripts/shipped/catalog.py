"""Every shipped workflow and blueprint, as the text of its file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shipped import animate, between, boxes, directed, family, fast, longer
from shipped.box import Box, blueprint
from shipped.layout import Group, Layout
from shipped.names import TITLES, file_name
from shipped.sheet import ObjectInfo, Sheet, identity

WORKFLOWS: dict[str, Callable[[Sheet], list[Group]]] = {
    "animate": animate.animate,
    "1024": animate.at_1024,
    "256": animate.at_256,
    "cil": family.cil,
    "toon": between.toon,
    "drag": directed.drag,
    "extend": longer.extend,
    "fast": fast.fast,
    "folder": animate.folder,
    "refine": animate.refine,
    "interpolate": between.interpolate,
    "keyframes": between.keyframes,
    "lambda": animate.lambda_study,
    "long": longer.long,
    "low_memory": animate.low_memory,
    "region": directed.region,
    "camera": directed.camera,
    "prompt_travel": animate.prompt_travel,
    "pruned": animate.pruned,
    "loop": between.loop,
    "sketch": between.sketch,
    "ksampler": animate.ksampler,
    "storytelling": longer.storytelling,
    "motion_control": animate.motion_control,
    "guidance": animate.guidance,
    "videocrafter1_image": family.videocrafter1_image,
    "videocrafter1": family.videocrafter1,
    "videocrafter2": family.videocrafter2,
    "viewcrafter": family.viewcrafter,
}


def contents(object_info: ObjectInfo) -> dict[Path, str]:
    """Each file's path below the project's root and its text.

    object_info: `/object_info` of the newest supported host.
    """
    found = {}
    for short in TITLES:
        sheet = Sheet(object_info)
        if short == "box":
            groups, (box, definition) = boxes.shown(sheet)
            saved = _workflow(short, sheet, groups, box, definition)
        else:
            saved = _workflow(short, sheet, WORKFLOWS[short](sheet))
        found[Path("workflows", file_name(short))] = _text(saved)
    for make in boxes.BOXES:
        box, definition = make(object_info)
        found[Path("subgraphs", f"{box.name}.json")] = _text(blueprint(box, definition))
    return found


def _workflow(
    short: str,
    sheet: Sheet,
    groups: list[Group],
    box: Box | None = None,
    definition: dict[str, Any] | None = None,
) -> dict[str, Any]:
    for number, group in enumerate(groups, 1):
        group.title = f"{number} \u00b7 {group.title}"
    layout = Layout(sheet, groups)
    layout.place()
    nodes, links = sheet.saved_nodes(), sheet.saved_links()
    if box is not None:
        nodes = [box.dress(n) if n["type"] == definition["id"] else n for n in nodes]  # type: ignore[index]
    saved = {
        "id": identity(short),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
    }
    if definition is not None:
        saved["definitions"] = {"subgraphs": [definition]}
    return saved | layout.saved()


def _text(saved: dict[str, Any]) -> str:
    return json.dumps(saved, indent=1, ensure_ascii=False) + "\n"
