"""The workflows for loops, interpolation, keyframes, long videos and stories."""

import json
from pathlib import Path
from typing import Any

import pytest
from comfyui.workflow_api import to_api
from graphs import Graph
from PIL import Image
from scene import SIZE
from studio import Studio, picture

# Frames of the finished video, with the settings of SMALL.
FRAMES = {
    "loop": 3,
    "interpolate": 4,
    "keyframes": 4,
    "long_video": 10,
    "extend": 4 + 2,
    "storytelling": (4 + 2) + (4 + 2),
}
INTERPOLATES = ("loop", "interpolate", "keyframes")
SMALL: dict[str, dict[str, Any]] = {
    "DynamiCrafterVisualDetailGuidance": {"width": SIZE, "height": SIZE, "length": 4},
    "DynamiCrafterSampler": {"steps": 2},
    "DynamiCrafterPromptSchedule": {"length": 4, "prompts": "0: the sun sets\n2: it rises"},
    "DynamiCrafterExtend": {"length": 4, "overlap": 2},
    "DynamiCrafterShot": {"length": 4},
    "DynamiCrafterStoryboard": {"width": SIZE, "height": SIZE, "steps": 2, "overlap": 2},
    "ContextWindowsManual": {"context_length": 4, "context_overlap": 2},
}


@pytest.fixture(params=list(FRAMES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def workflow(name: str, root: Path) -> dict[str, Any]:
    return json.loads((root / "workflows" / f"{name}.json").read_text(encoding="utf-8"))


def small_prompt(studio: Studio, workflow: dict[str, Any], name: str) -> dict[str, Any]:
    """The workflow as the page submits it, with a small checkpoint, images and settings."""
    prompt = to_api(workflow, studio.server.object_info())
    variant = "512_interp" if name in INTERPOLATES else "512"
    checkpoint = studio.small_checkpoint(variant)
    for phase, node in enumerate(prompt.values()):
        inputs = node["inputs"]
        inputs.update(SMALL.get(node["class_type"], {}))
        if node["class_type"] == "DynamiCrafterCheckpointLoader":
            inputs["ckpt_name"] = checkpoint
        if node["class_type"] == "LoadImage":
            inputs["image"] = put_picture(studio, f"phase-{phase}.png", phase)
        if node["class_type"] == "DynamiCrafterKeyframe" and inputs["frame"] == 8:
            inputs["frame"] = 2
        if node["class_type"] == "DynamiCrafterVisualDetailGuidance" and name == "long_video":
            inputs["length"] = FRAMES[name]
    return renumbered(prompt)


def renumbered(prompt: dict[str, Any]) -> dict[str, Any]:
    """The same prompt with ids from 1 on, so that nodes can be added."""
    ids = {old: str(new) for new, old in enumerate(prompt, start=1)}
    for node in prompt.values():
        for key, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][key] = [ids[value[0]], value[1]]
    return {ids[old]: node for old, node in prompt.items()}


def put_picture(studio: Studio, name: str, phase: int) -> str:
    pixels = (picture(SIZE, SIZE, float(phase))[0] * 255).byte().numpy()
    Image.fromarray(pixels).save(studio.server.base / "input" / name)
    return name


@pytest.mark.server
def test_it_runs_on_the_server(
    studio: Studio, graph: Graph, workflow: dict[str, Any], name: str
) -> None:
    graph.prompt = small_prompt(studio, workflow, name)
    video = next(n for n in graph.prompt.values() if n["class_type"] == "CreateVideo")
    images = studio.run(graph, images=video["inputs"]["images"])["images"]["value"]
    assert images.shape == (FRAMES[name], SIZE, SIZE, 3)
    assert bool(images.isfinite().all())
    steps = images.diff(dim=0).abs().mean(dim=(1, 2, 3))
    assert float(steps.min()) > 1e-4, "a frame is doubled"
    saved = studio.server.base / "output" / "video"
    assert list(saved.glob(f"{name}_*.mp4"))


def test_it_reads_from_left_to_right(workflow: dict[str, Any]) -> None:
    """Links lead to the right or downwards, and no node covers another."""
    nodes = {n["id"]: n for n in workflow["nodes"]}
    for _, origin, _, target, _, _ in workflow["links"]:
        (x, y), (to_x, to_y) = nodes[origin]["pos"], nodes[target]["pos"]
        assert to_x > x or (to_x == x and to_y > y)
    boxes = [(*n["pos"], *n["size"]) for n in nodes.values()]
    for i, (x, y, width, height) in enumerate(boxes):
        for left, top, across, down in boxes[:i]:
            apart = x >= left + across or left >= x + width
            # A title bar stands 30 above its node.
            assert apart or y - 30 >= top + down or top - 30 >= y + height


def test_every_node_lies_in_a_labelled_group(workflow: dict[str, Any]) -> None:
    groups = [g["bounding"] for g in workflow["groups"]]
    assert all(g["title"] for g in workflow["groups"])
    for node in workflow["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        assert any(
            left <= x and top <= y - 30 and x + width <= left + across and y + height <= top + down
            for left, top, across, down in groups
        ), node["type"]


def test_a_note_names_the_file_it_needs(workflow: dict[str, Any]) -> None:
    notes = [n["widgets_values"][0] for n in workflow["nodes"] if n["type"] == "MarkdownNote"]
    loaders = [n for n in workflow["nodes"] if n["type"] == "DynamiCrafterCheckpointLoader"]
    assert len(notes) == 1 and len(loaders) == 1
    assert loaders[0]["widgets_values"][0] in notes[0]
    assert "models/checkpoints" in notes[0]


def test_its_pictures_are_shipped(workflow: dict[str, Any], root: Path) -> None:
    loaders = [n for n in workflow["nodes"] if n["type"] == "LoadImage"]
    assert loaders
    for node in loaders:
        assert (root / "assets" / node["widgets_values"][0]).is_file()


def test_all_of_the_stories_workflows_are_here(root: Path) -> None:
    found = {path.stem for path in (root / "workflows").glob("*.json")}
    assert set(FRAMES) <= found
