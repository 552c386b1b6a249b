"""The workflows for text to video, VideoCrafter 1 I2V, ViewCrafter, ToonCrafter and CIL."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui.workflow_api import to_api
from family import LENGTH, SIZE, bare
from graphs import Graph
from PIL import Image
from safetensors.torch import load_file
from studio import PATIENCE, Studio, picture

VARIANTS = {
    "videocrafter1_text_to_video": "videocrafter1_512",
    "videocrafter2_text_to_video": "videocrafter2",
    "videocrafter1_image_to_video": "videocrafter1_i2v",
    "viewcrafter": "viewcrafter_25",
    "toon_inbetween": "toon_512",
    "cil": "cil_512",
}
VIEW_FRAMES = 25
SIZED = ("DynamiCrafterVisualDetailGuidance", "DynamiCrafterEmptyVideo")


@pytest.fixture(params=list(VARIANTS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def workflow(name: str, root: Path) -> dict[str, Any]:
    return json.loads((root / "workflows" / f"{name}.json").read_text(encoding="utf-8"))


def put_picture(studio: Studio, name: str) -> str:
    pixels = (picture(SIZE, SIZE, float(len(name)))[0] * 255).byte().numpy()
    Image.fromarray(pixels).save(studio.server.base / "input" / name)
    return name


def put_renders(studio: Studio) -> str:
    """A video file of one render for each frame, made by the server itself."""
    graph = Graph()
    frames = torch.cat([picture(SIZE, SIZE, i / 9) for i in range(VIEW_FRAMES)])
    video = graph.add("CreateVideo", images=studio.image(graph, frames), fps=8.0, bit_depth=8)[0]
    graph.add("SaveVideo", video=video, filename_prefix="renders", format="mp4", codec="h264")
    studio.server.prompt(graph.prompt, timeout=PATIENCE)
    (saved,) = (studio.server.base / "output").glob("renders_*.mp4")
    saved.rename(studio.server.base / "input" / "renders.mp4")
    return "renders.mp4"


def small_prompt(studio: Studio, workflow: dict[str, Any], variant: str) -> dict[str, Any]:
    """The workflow as the page submits it, with a small checkpoint, pictures and settings."""
    prompt = to_api(workflow, studio.server.object_info())
    for node in prompt.values():
        kind, inputs = node["class_type"], node["inputs"]
        if kind == "DynamiCrafterCheckpointLoader":
            inputs["ckpt_name"] = bare(studio, variant)
        elif kind == "LoadImage":
            inputs["image"] = put_picture(studio, inputs["image"])
        elif kind == "LoadVideo":
            inputs["file"] = put_renders(studio)
        elif kind == "DynamiCrafterSampler":
            inputs["steps"] = 2
        elif kind in SIZED:
            inputs.update(width=SIZE, height=SIZE)
            inputs["length"] = VIEW_FRAMES if variant == "viewcrafter_25" else LENGTH
    return prompt


@pytest.mark.server
def test_it_runs_on_the_server(studio: Studio, workflow: dict[str, Any], name: str) -> None:
    variant = VARIANTS[name]
    prompt = small_prompt(studio, workflow, variant)
    decoded = next(i for i, n in prompt.items() if n["class_type"] == "DynamiCrafterVideoDecode")
    # Ids are free text: this one collides with none of the workflow's.
    prompt["frames"] = {
        "class_type": "TestSave",
        "inputs": {"value": [decoded, 0], "name": f"frames-{name}"},
        "_meta": {"title": "frames"},
    }
    studio.server.prompt(prompt, timeout=PATIENCE)
    output = studio.server.base / "output"
    frames = load_file(output / f"frames-{name}.safetensors")["value"]
    length = VIEW_FRAMES if variant == "viewcrafter_25" else LENGTH
    assert frames.shape == (length, SIZE, SIZE, 3)
    assert bool(frames.isfinite().all())
    assert float(frames.diff(dim=0).abs().mean(dim=(1, 2, 3)).min()) > 1e-4, "a frame is doubled"
    assert list((output / "video").glob(f"{name}_*.mp4"))


def test_both_parts_below_the_last_timestep_start_at_the_same(root: Path) -> None:
    workflow = json.loads((root / "workflows" / "cil.json").read_text(encoding="utf-8"))
    linked = [
        (node["type"], entry["name"])
        for node in workflow["nodes"]
        for entry in node["inputs"]
        if entry["name"] == "start_timestep" and entry["link"] is not None
    ]
    assert {kind for kind, _ in linked} == {"DynamiCrafterAnalyticInit", "DynamiCrafterSampler"}


def test_its_pictures_are_shipped(workflow: dict[str, Any], root: Path) -> None:
    for node in workflow["nodes"]:
        if node["type"] == "LoadImage":
            assert (root / "assets" / node["widgets_values"][0]).is_file()
