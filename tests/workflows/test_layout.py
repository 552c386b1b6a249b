"""Across the shipped workflows: each can be read as a picture.

Groups stand in a row, nothing on top of anything, no wire behind a node, the beginning in view.
"""

import json
import math
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from shipped.names import PREFIX, TITLES

FILES = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))
TITLE_HEIGHT = 30
WINDOW = (1600, 1000)
# What the page's own bars cover.
LEFT_BAR, TOP_BAR, BOTTOM_BAR = 60, 100, 20
# Below a sampler the page draws a preview of at least this height.
PREVIEW = 256
# Whose picture is a video: the tasks that most people come for.
MOVING = ("animate", "box", "1024", "256", "interpolate", "loop", "keyframes", "extend")
CHARACTER = 14  # the width of a letter of a group's title at font size 24
Box = tuple[float, float, float, float]
Point = tuple[float, float]


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
    assert "DynamiCrafter - Animate an image" in {path.stem for path in FILES}
    assert len(FILES) >= 24


def test_every_node_is_in_one_labelled_group(workflow: dict[str, Any]):
    for node in workflow["nodes"]:
        around = [g for g in workflow["groups"] if inside(node_box(node), group_box(g))]
        assert len(around) == 1, node["type"]
        assert around[0]["title"]


def test_titles_fit_their_groups(workflow: dict[str, Any]):
    for group in workflow["groups"]:
        assert len(group["title"]) * CHARACTER <= group["bounding"][2], group["title"]


def test_groups_have_room_for_previews(workflow: dict[str, Any]):
    bottom = min(group_box(group)[3] for group in workflow["groups"])
    for node in workflow["nodes"]:
        left, _, right, end = node_box(node)
        if "Sampler" in node["type"] or "Storyboard" in node["type"]:
            below = [
                node_box(other)[1]
                for other in workflow["nodes"]
                if overlap((left, end, right, math.inf), node_box(other))
            ]
            least = 404 + PREVIEW if "DynamiCrafter" in node["type"] else 0
            height = min([bottom, *below]) - node["pos"][1]
            assert height >= max(least - 30, PREVIEW), node["type"]


def test_nothing_overlaps(workflow: dict[str, Any]):
    for one, other in combinations(workflow["nodes"], 2):
        assert not overlap(node_box(one), node_box(other)), (one["type"], other["type"])
    for one, other in combinations(workflow["groups"], 2):
        assert not overlap(group_box(one), group_box(other)), (one["title"], other["title"])


def test_links_run_from_left_to_right(workflow: dict[str, Any]):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for _, origin, _, target, _, _ in workflow["links"]:
        assert node_box(nodes[origin])[2] < node_box(nodes[target])[0], nodes[origin]["type"]


def test_no_wire_runs_behind_a_node(workflow: dict[str, Any]):
    for link, points in wires(workflow):
        for node in workflow["nodes"]:
            left, top, right, bottom = node_box(node)
            hidden = [(x, y) for x, y in points if left + 1 < x < right - 1 and top < y < bottom]
            assert not hidden, (link, node["type"], hidden[0])


def wires(workflow: dict[str, Any]) -> Iterator[tuple[list[Any], list[Point]]]:
    """Every link and points along its curve, bent through reroutes by the page's own rule."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    points = {r["id"]: r for r in workflow["extra"].get("reroutes", [])}
    last = {e["id"]: e["parentId"] for e in workflow["extra"].get("linkExtensions", [])}
    ends = {}
    for link, origin, slot, target, target_slot, _ in workflow["links"]:
        (x, y), (width, _) = nodes[origin]["pos"], nodes[origin]["size"]
        to_x, to_y = nodes[target]["pos"]
        ends[link] = ((x + width, y + 14 + 20 * slot), (to_x, to_y + 14 + 20 * target_slot))

    def chain(link: int) -> list[int]:
        found, key = [], last.get(link)
        while key is not None:
            found.append(key)
            key = points[key].get("parentId")
        return found[::-1]

    def following(link: int, key: int) -> Point:
        keys = chain(link)
        after = keys[keys.index(key) + 1 :]
        return tuple(points[after[0]]["pos"]) if after else ends[link][1]

    for link in workflow["links"]:
        start, end = ends[link[0]]
        here, leaving, curve = start, None, []
        for key in chain(link[0]):
            pos = tuple(points[key]["pos"])
            angle = bend(here, pos, [following(k, key) for k in points[key]["linkIds"]])
            back = min(80, math.dist(here, pos) / 4)
            arriving = (-back * math.cos(angle), -back * math.sin(angle))
            curve += bezier(here, pos, leaving, arriving)
            reach = min(80, math.dist(pos, following(link[0], key)) / 4)
            leaving = (reach * math.cos(angle), reach * math.sin(angle))
            here = pos
        yield link, curve + bezier(here, end, leaving, None)


def bend(before: Point, here: Point, after: list[Point]) -> float:
    """The direction in which wires run through a reroute."""
    directions = [math.atan2(y - here[1], x - here[0]) for x, y in after]
    mean = sum(directions) / len(directions)
    came = math.atan2(here[1] - before[1], here[0] - before[0])
    difference = (came - mean) / 2
    if abs(difference) > math.pi / 2:
        difference += math.pi
    return came - difference


def bezier(start: Point, end: Point, leaving: Point | None, arriving: Point | None) -> list[Point]:
    """Points of a curve; without a control, an end leaves its node level."""
    reach = math.dist(start, end) / 4
    out, back = leaving or (reach, 0.0), arriving or (-reach, 0.0)
    controls = (start, (start[0] + out[0], start[1] + out[1]), (end[0] + back[0], end[1] + back[1]))
    found = []
    for step in range(101):
        t = step / 100
        weights = ((1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3)
        x, y = (
            sum(w * p[axis] for w, p in zip(weights, (*controls, end), strict=True))
            for axis in (0, 1)
        )
        found.append((x, y))
    return found


def test_opens_readable_with_its_beginning_in_view(workflow: dict[str, Any]):
    view = workflow["extra"]["ds"]
    assert view["scale"] >= 0.7
    nodes = workflow["nodes"]
    for kind in ("MarkdownNote", "CheckpointLoader", "LoadImage", "prompt"):
        wanted = [node for node in nodes if is_a(kind, node)]
        assert wanted or kind == "LoadImage", kind
        if wanted:
            assert any(visible(node, view) for node in wanted), kind


def is_a(kind: str, node: dict[str, Any]) -> bool:
    boxed = "proxyWidgets" in node["properties"]
    if kind in ("prompt", "CheckpointLoader") and boxed:
        return True
    if kind == "prompt":
        return node["type"] in (
            "CLIPTextEncode",
            "DynamiCrafterPromptSchedule",
            "DynamiCrafterShot",
        )
    return kind in node["type"]


def visible(node: dict[str, Any], view: dict[str, Any]) -> bool:
    left, top, right, bottom = node_box(node)
    (x, y), scale = view["offset"], view["scale"]
    return (
        (left + x) * scale >= LEFT_BAR
        and (top + y) * scale >= TOP_BAR
        and (right + x) * scale <= WINDOW[0]
        and (bottom + y) * scale <= WINDOW[1] - BOTTOM_BAR
    )


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
    for box in workflow.get("definitions", {}).get("subgraphs", []):
        assert nodes.keys().isdisjoint(node["id"] for node in box["nodes"])


def test_reroutes_belong_to_links(workflow: dict[str, Any]):
    links = {link[0] for link in workflow["links"]}
    for reroute in workflow["extra"].get("reroutes", []):
        assert reroute["linkIds"] and set(reroute["linkIds"]) <= links


def loaded_files(workflow: dict[str, Any]) -> set[str]:
    return {
        value
        for node in workflow["nodes"]
        for value in node.get("widgets_values") or []
        if isinstance(value, str) and value.endswith((".ckpt", ".safetensors"))
    }


def test_a_note_names_the_files_it_needs(workflow: dict[str, Any]):
    (note,) = (n["widgets_values"][0] for n in workflow["nodes"] if n["type"] == "MarkdownNote")
    for name in loaded_files(workflow):
        assert f"`{name}`" in note, name
    assert "models/checkpoints" in note


def test_the_page_can_offer_every_file_for_download(workflow: dict[str, Any]):
    every = [*workflow["nodes"]]
    for definition in workflow.get("definitions", {}).get("subgraphs", []):
        every += definition["nodes"]
    offered = [entry for node in every for entry in node["properties"].get("models", [])]
    assert loaded_files(workflow) == {entry["name"] for entry in offered}
    (note,) = (n["widgets_values"][0] for n in workflow["nodes"] if n["type"] == "MarkdownNote")
    for entry in offered:
        assert entry["url"].startswith("https://huggingface.co/")
        assert "/resolve/main/" in entry["url"] and entry["url"] in note
        assert entry["directory"] in (
            *("checkpoints", "controlnet"),
            *("text_encoders", "clip_vision"),
        )
        saved = entry["url"].rsplit("/", 1)[1]
        assert saved == entry["name"] or f"rename `{saved}`" in note


def test_pictures_are_there_in_every_installation(workflow: dict[str, Any]):
    for node in workflow["nodes"]:
        if node["type"].startswith("Load") and "image" in [s["name"] for s in node["inputs"]]:
            assert node["widgets_values"][0] == "example.png"
        assert node["type"] != "LoadVideo"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_picture_stands_beside_it(path: Path):
    """The template browser asks for a .jpg; a browser goes by the content, here WebP."""
    with Image.open(path.with_suffix(".jpg")) as picture:
        assert picture.size == (320, 320)
        moves = getattr(picture, "n_frames", 1) > 1
    short = next(k for k, title in TITLES.items() if path.stem == f"{PREFIX}{title}")
    assert moves or short not in MOVING
    assert path.with_suffix(".jpg").stat().st_size < 120_000
