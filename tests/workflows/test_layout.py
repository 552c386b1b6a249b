"""Every shipped workflow can be read as a picture: groups in a row, nothing on top of anything."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

FILES = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))
TITLE_HEIGHT = 30
Box = tuple[float, float, float, float]


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def workflow(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(request.param.read_text(encoding="utf-8"))


def node_box(node: dict[str, Any]) -> Box:
    """Left, top, right, bottom, the title bar included."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE_HEIGHT, x + width, y + height


def group_box(group: dict[str, Any]) -> Box:
    x, y, width, height = group["bounding"]
    return x, y, x + width, y + height


def inside(inner: Box, outer: Box) -> bool:
    return (
        inner[0] >= outer[0]
        and inner[1] >= outer[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )


def overlap(one: Box, other: Box) -> bool:
    return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(
        one[3], other[3]
    )


def test_there_are_workflows():
    assert "animate_image" in {path.stem for path in FILES}


def test_every_node_is_in_one_labelled_group(workflow: dict[str, Any]):
    for node in workflow["nodes"]:
        around = [g for g in workflow["groups"] if inside(node_box(node), group_box(g))]
        assert len(around) == 1, node["type"]
        assert around[0]["title"]


def test_nothing_overlaps(workflow: dict[str, Any]):
    for one, other in combinations(workflow["nodes"], 2):
        assert not overlap(node_box(one), node_box(other)), (one["type"], other["type"])
    for one, other in combinations(workflow["groups"], 2):
        assert not overlap(group_box(one), group_box(other)), (one["title"], other["title"])


def test_links_run_from_left_to_right(workflow: dict[str, Any]):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for _, origin, _, target, _, _ in workflow["links"]:
        origin_box, target_box = node_box(nodes[origin]), node_box(nodes[target])
        below = origin_box[0] == target_box[0] and origin_box[3] <= target_box[1]
        assert origin_box[2] <= target_box[0] or below, (nodes[origin]["type"], target)


def test_links_agree_with_both_ends(workflow: dict[str, Any]):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link, origin, origin_slot, target, target_slot, kind in workflow["links"]:
        output = nodes[origin]["outputs"][origin_slot]
        entry = nodes[target]["inputs"][target_slot]
        assert link in output["links"] and entry["link"] == link
        assert output["type"] == entry["type"] == kind
    held = [s["link"] for n in workflow["nodes"] for s in n["inputs"] if s["link"] is not None]
    assert sorted(held) == sorted(link[0] for link in workflow["links"])
    assert workflow["last_link_id"] == max(held)
    assert workflow["last_node_id"] == max(nodes)


def test_a_note_names_the_files_it_needs(workflow: dict[str, Any]):
    notes = [n["widgets_values"][0] for n in workflow["nodes"] if n["type"] == "MarkdownNote"]
    loaded = [
        value
        for node in workflow["nodes"]
        for value in node.get("widgets_values") or []
        if isinstance(value, str) and value.endswith((".ckpt", ".safetensors"))
    ]
    for name in loaded:
        assert any(name in note for note in notes), name
    assert any("models/checkpoints" in note for note in notes)
