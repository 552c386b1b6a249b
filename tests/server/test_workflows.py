"""Across the shipped workflows: each runs with a small checkpoint, small pictures, few steps."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import small_checkpoint
from comfyui.workflow_api import to_api
from family import bare
from PIL import Image
from safetensors.torch import load_file
from shipped.names import TITLES, file_name
from small_workflows import LENGTH, LONG_FRAMES, SIZE, SMALL, VARIANTS, VIEW_FRAMES
from studio import PATIENCE, Studio, picture

pytestmark = pytest.mark.server

# Frames of the finished video, where they are not LENGTH.
FRAMES = {
    "extend": 4 + 2,
    "long": LONG_FRAMES,
    "loop": 3,
    "storytelling": (4 + 2) + (4 + 2),
    "viewcrafter": VIEW_FRAMES,
}
# Height and width, where they are not SIZE.
WIDE = {
    "lambda": (SIZE, 3 * SIZE + 8),
    "motion_control": (2 * SIZE + 4, 2 * SIZE + 4),
}
PICTURES = ("first.png", "second.png")
# Not the folder that the workflow names: whoever runs it on the shared server fills that one.
PICTURE_FOLDER = "two_pictures"


def put_picture(path: Path, phase: float) -> None:
    pixels = (picture(SIZE, SIZE, phase)[0] * 255).byte().numpy()
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def inputs(studio: Studio) -> Path:
    """The server's input folder with what the workflows load."""
    folder = studio.server.base / "input"
    for number, name in enumerate(PICTURES):
        put_picture(folder / name, float(number))
        put_picture(folder / PICTURE_FOLDER / name, float(number))
    control = studio.server.base / "models" / "controlnet" / "small_sketch.safetensors"
    small_checkpoint.write_sketch_controlnet(control)
    return folder


def small_prompt(studio: Studio, root: Path, short: str) -> dict[str, Any]:
    """The workflow as the page submits it, with small settings."""
    path = root / "workflows" / file_name(short)
    workflow = json.loads(path.read_text(encoding="utf-8"))
    prompt = to_api(workflow, studio.server.object_info())
    checkpoint = bare(studio, VARIANTS.get(short, "512"))
    loaded = 0
    for key, node in [*prompt.items()]:
        given, kind = node["inputs"], node["class_type"]
        given.update(SMALL.get(kind, {}))
        if kind == "DynamiCrafterCheckpointLoader":
            given.update(ckpt_name=checkpoint, weight_dtype="default")
        elif kind == "LoadImage":
            given["image"] = PICTURES[loaded % 2]
            loaded += 1
        elif kind == "LoadImageDataSetFromFolder":
            given["folder"] = PICTURE_FOLDER
        elif kind == "DynamiCrafterSketchControl":
            given.update(control_net_name="small_sketch.safetensors", frames="2")
        elif kind == "DynamiCrafterKeyframe" and given["frame"] == 8:
            given["frame"] = 2
        elif kind == "DynamiCrafterVisualDetailGuidance" and short in ("long", "viewcrafter"):
            given["length"] = FRAMES[short]
        elif kind in ("CLIPLoader", "CLIPVisionLoader"):
            lend_encoder(studio, prompt, key)
    return prompt


def lend_encoder(studio: Studio, prompt: dict[str, Any], key: str) -> None:
    """Exchanges a stock encoder loader, which knows full-sized files only, for ours."""
    slot = 1 if prompt[key]["class_type"] == "CLIPLoader" else 3
    settings = {"ckpt_name": bare(studio, "512"), "variant": "auto", "weight_dtype": "default"}
    prompt[key] |= {"class_type": "DynamiCrafterCheckpointLoader", "inputs": settings}
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if value == [key, 0]:
                node["inputs"][name] = [key, slot]


@pytest.mark.parametrize("short", TITLES)
def test_it_runs_on_the_server(studio: Studio, inputs: Path, root: Path, short: str) -> None:
    prompt = small_prompt(studio, root, short)
    video = next(n for n in prompt.values() if n["class_type"] == "CreateVideo")
    prompt["frames"] = {
        "class_type": "TestSave",
        "inputs": {"value": video["inputs"]["images"], "name": f"frames-{short}"},
        "_meta": {"title": "frames"},
    }
    output = studio.server.base / "output"
    shutil.rmtree(output / "video", ignore_errors=True)
    studio.server.prompt(prompt, timeout=PATIENCE)
    frames = load_file(output / f"frames-{short}.safetensors")["value"]
    height, width = WIDE.get(short, (SIZE, SIZE))
    assert frames.shape == (FRAMES.get(short, LENGTH), height, width, 3)
    assert bool(frames.isfinite().all())
    steps = frames.diff(dim=0).abs().mean(dim=(1, 2, 3))
    assert float(steps.min()) > 1e-4, "a frame is doubled"
    saved = list((output / "video").glob("*.mp4"))
    assert len(saved) == (len(PICTURES) if short == "folder" else 1)


def test_several_prompts_give_several_videos(studio: Studio, inputs: Path, root: Path) -> None:
    """The four quarters of the grid, and the three parts of the lambda study, differ."""
    output = studio.server.base / "output"
    grid = load_file(output / "frames-motion_control.safetensors")["value"]
    rows = (slice(0, SIZE), slice(-SIZE, None))
    parts = [grid[:, y, x] for y in rows for x in rows]
    study = load_file(output / "frames-lambda.safetensors")["value"]
    thirds = [study[:, :, i * (SIZE + 4) : i * (SIZE + 4) + SIZE] for i in range(3)]
    for group in (parts, thirds):
        for one, other in pairwise(group):
            assert float((one - other).abs().max()) > 1e-3


def test_both_parts_below_the_last_timestep_start_at_the_same(root: Path) -> None:
    workflow = json.loads((root / "workflows" / file_name("cil")).read_text(encoding="utf-8"))
    linked = [
        (node["type"], entry["name"])
        for node in workflow["nodes"]
        for entry in node["inputs"]
        if entry["name"] == "start_timestep" and entry["link"] is not None
    ]
    assert {kind for kind, _ in linked} == {"DynamiCrafterAnalyticInit", "DynamiCrafterSampler"}
