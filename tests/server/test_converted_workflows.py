"""Across the conversion of other packs' workflows: each result runs on the real server."""

import json
from typing import Any

import pytest
import small_checkpoint
from comfyui.workflow_api import to_api
from converter.convert import convert
from converter.graph import read, write
from family import bare
from foreign_workflows import EVERY
from PIL import Image
from safetensors.torch import load_file
from studio import PATIENCE, Studio, picture

pytestmark = pytest.mark.server
SIZE, LENGTH = 64, 4
VARIANTS = {
    "the wrapper draws": "toon_512",
    "the wrapper chains": "512_interp",
    "native interpolates": "512_interp",
    "simple interpolates": "512_interp",
    "one toon node": "toon_512",
    "one toon node with a sketch": "toon_512",
    "view": "viewcrafter_25",
}
FRAMES = {"the wrapper chains": 2 * LENGTH - 1, "view": 25}
SMALL: dict[str, dict[str, Any]] = {
    "DynamiCrafterVisualDetailGuidance": {"width": SIZE, "height": SIZE, "length": LENGTH},
    "DynamiCrafterSampler": {"steps": 1},
    "KSampler": {"steps": 1},
    "DynamiCrafterShot": {"length": LENGTH},
    "DynamiCrafterStoryboard": {"width": SIZE, "height": SIZE, "steps": 1},
    "DynamiCrafterSketchControl": {"control_net_name": "small_sketch.safetensors", "frames": "2"},
    "ImageScale": {"width": SIZE, "height": SIZE},
    "LoadImage": {"image": "converted.png"},
}
# Stock loaders know full-sized files only: which output of ours stands in for each.
LENT = {"CLIPLoader": 1, "VAELoader": 2, "CLIPVisionLoader": 3}


@pytest.fixture(scope="module", autouse=True)
def inputs(studio: Studio) -> None:
    pixels = (picture(SIZE, SIZE)[0] * 255).byte().numpy()
    Image.fromarray(pixels).save(studio.server.base / "input" / "converted.png")
    control = studio.server.base / "models" / "controlnet" / "small_sketch.safetensors"
    small_checkpoint.write_sketch_controlnet(control)


@pytest.mark.parametrize("name", EVERY)
def test_it_runs_on_the_server(studio: Studio, name: str) -> None:
    graph = read(EVERY[name].saved())
    convert(graph)
    prompt = to_api(write(graph), studio.server.object_info())
    made_small(studio, prompt, name)
    (images,) = (
        node["inputs"]["images"]
        for node in prompt.values()
        if node["class_type"] in ("CreateVideo", "PreviewImage")
    )
    prompt["frames"] = {
        "class_type": "TestSave",
        "inputs": {"value": images, "name": "converted"},
        "_meta": {"title": "frames"},
    }
    studio.server.prompt(prompt, timeout=PATIENCE)
    frames = load_file(studio.server.base / "output" / "converted.safetensors")["value"]
    assert frames.shape == (FRAMES.get(name, LENGTH), SIZE, SIZE, 3)
    assert bool(frames.isfinite().all()) and float(frames.std()) > 0


def made_small(studio: Studio, prompt: dict[str, Any], name: str) -> None:
    checkpoint = bare(studio, VARIANTS.get(name, "512"))
    settings = {"ckpt_name": checkpoint, "variant": "auto", "weight_dtype": "default"}
    text = json.dumps(prompt)
    for key, node in prompt.items():
        kind = node["class_type"]
        if kind in LENT:
            text = text.replace(f'["{key}", 0]', f'["{key}", {LENT[kind]}]')
    prompt |= json.loads(text)
    for node in prompt.values():
        node["inputs"] |= SMALL.get(node["class_type"], {})
        if node["class_type"] in LENT or node["class_type"] == "DynamiCrafterCheckpointLoader":
            node |= {"class_type": "DynamiCrafterCheckpointLoader", "inputs": settings}
        if node["class_type"] == "DynamiCrafterVisualDetailGuidance" and name == "view":
            node["inputs"]["length"] = FRAMES["view"]
