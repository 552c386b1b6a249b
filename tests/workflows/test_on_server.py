"""Across the shipped workflows and the page's own exports: held against a real server."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import av
import pytest
from comfyui import setup as comfy_setup
from comfyui.client import InterruptedPromptError, PromptError, PromptTimeoutError
from comfyui.server import ComfyServer, link_checkpoint
from comfyui.workflow_api import to_api
from comfyui.workflow_settings import set_image, set_value
from comfyui.workflow_widgets import input_type
from demo_options import EMBEDDED
from shipped.names import TITLES, file_name
from studio import PATIENCE

pytestmark = pytest.mark.server
WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))
# Audio examples of ComfyUI's templates: the page has stored both the workflow and its prompt.
TEMPLATES = "comfyui-workflow-templates-media-image"
# What the page alone puts into a prompt: a player's address; no node reads it.
PAGE_ONLY = ("audioUI",)
# What notes name beside nodes, inputs and workflows: the page's buttons, a key, a menu's entry.
BUTTONS = {"Download", "Run", "R", "Open in MaskEditor"}


@pytest.fixture
def checkpoint(server: ComfyServer, tmp_path: Path) -> Iterator[str]:
    """The embedded checkpoint under a name of its own, so the server has nothing cached."""
    linked = tmp_path / f"{uuid.uuid4().hex}.safetensors"
    linked.symlink_to(EMBEDDED)
    folder = server.base / "models" / "checkpoints"
    link_checkpoint(linked, folder)
    yield linked.name
    (folder / linked.name).unlink()


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_fits_the_nodes_of_this_server(path: Path, object_info: dict[str, Any]):
    workflow = load(path)
    boxes = workflow.get("definitions", {}).get("subgraphs", [])
    inner = [node for box in boxes for node in box["nodes"]]
    passed_over = {"MarkdownNote", *(box["id"] for box in boxes)}
    for node in [*workflow["nodes"], *inner]:
        if node["type"] in passed_over:
            continue
        info = object_info[node["type"]]
        specs = {
            name: spec for group in ("required", "optional") for name, spec in inputs(info, group)
        }
        for entry in node["inputs"]:
            name = entry["name"].split(".")[0]  # Of a growing list: `images.image0`.
            assert name in specs, (node["type"], name)
            if entry["link"] is not None and name == entry["name"]:
                assert entry["type"] in input_type(specs[name]).split(",")
        for output, kind, name in zip(
            node["outputs"], info["output"], info["output_name"], strict=True
        ):
            assert (output["type"], output["name"]) == (kind, name)
    for node in to_api(workflow, object_info).values():
        required = {name for name, _ in inputs(object_info[node["class_type"]], "required")}
        assert required <= {name.split(".")[0] for name in node["inputs"]}


def inputs(info: dict[str, Any], group: str) -> list[tuple[str, Any]]:
    return list((info["input"].get(group) or {}).items())


@pytest.mark.skipif(
    os.environ.get("COMFYUI_RELEASE", comfy_setup.DEFAULT_RELEASE) != comfy_setup.DEFAULT_RELEASE,
    reason="notes have the names of the newest supported ComfyUI",
)
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_note_calls_things_by_the_names_that_people_see(path: Path, object_info: dict[str, Any]):
    workflow = load(path)
    (note,) = (n["widgets_values"][0] for n in workflow["nodes"] if n["type"] == "MarkdownNote")
    boxes = [file.stem for file in (path.parents[1] / "subgraphs").glob("*.json")]
    nodes = [info["display_name"] or "" for info in object_info.values()]
    seen = {*BUTTONS, *TITLES.values(), *nodes, *boxes}
    seen |= {node.get("title") for node in workflow["nodes"]}
    seen |= {group["title"].partition(" \u00b7 ")[2] for group in workflow["groups"]}
    for info in object_info.values():
        seen |= {
            *info["output_name"],
            *(name for group in info["input"].values() for name in group),
        }
    # The family's name is left out where it is understood.
    short = [re.sub(r"^DynamiCrafter | \(.*\)$", "", name) for name in nodes + boxes]
    seen |= {*short, *(re.sub(r" \(.*\)$", "", name) for name in short)}
    named = {word.split(" `")[0] for word in re.findall(r"\*([^*\n]+)\*", note)}
    assert named - seen == set()


def test_animate_image_runs(
    server: ComfyServer, object_info: dict[str, Any], checkpoint: str, root: Path, tmp_path: Path
):
    prompt = to_api(load(root / "workflows" / file_name("animate")), object_info)
    set_value(prompt, "checkpoint", checkpoint)
    boat = f"a boat {Path(checkpoint).stem}.png"  # not cached either
    set_image(prompt, server.upload_image(root / "assets" / "sailboat.png", boat))
    for setting, value in {"width": 64, "height": 64, "steps": 2}.items():
        set_value(prompt, setting, value)
    seen: list[tuple[str, int, int]] = []
    outputs = server.prompt(prompt, on_progress=lambda *event: seen.append(event), timeout=PATIENCE)
    sampler = next(i for i, n in prompt.items() if n["class_type"] == "DynamiCrafterSampler")
    assert {node_id for node_id, _, _ in seen} == set(prompt)
    assert [event[1:] for event in seen if event[0] == sampler] == [(0, 0), (1, 2), (2, 2)]
    (saved,) = (entry for output in outputs.values() for entry in output.get("images", []))
    (tmp_path / "out.mp4").write_bytes(server.view(**saved))
    with av.open(str(tmp_path / "out.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 8)
        assert len(list(video.decode(stream))) == 16


class TestClient:
    def test_a_prompt_that_does_not_validate(self, server: ComfyServer):
        wrong = {"1": {"class_type": "EmptyImage", "inputs": {"width": "wide"}}, **save("1")}
        with pytest.raises(PromptError) as caught:
            server.prompt(wrong)
        assert (caught.value.node_id, caught.value.node_type) == ("1", "EmptyImage")
        kinds = {error["type"] for error in caught.value.errors["1"]["errors"]}
        assert kinds == {"invalid_input_type", "required_input_missing"}

    def test_a_node_that_does_not_exist(self, server: ComfyServer):
        with pytest.raises(PromptError, match="Nowhere"):
            server.prompt({"1": {"class_type": "Nowhere", "inputs": {}}})

    def test_a_node_that_fails(self, server: ComfyServer, checkpoint: str):
        sizes = ("width", "height", "batch_size", "color")
        image = {"class_type": "EmptyImage", "inputs": dict.fromkeys(sizes, 8)}
        crop = {
            "class_type": "LatentFromBatch",
            "inputs": {"samples": ["1", 0], "batch_index": 0, "length": 1},
        }
        loader = {
            "class_type": "DynamiCrafterCheckpointLoader",
            "inputs": {"ckpt_name": checkpoint, "variant": "256", "weight_dtype": "default"},
        }
        encode = {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["2", 2]}}
        decode = {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["2", 0]}}
        prompt = {"1": image, "2": loader, "3": encode, "4": crop, "5": decode, **save("5")}
        crop["inputs"]["samples"] = ["3", 0]
        with pytest.raises(PromptError) as caught:
            server.prompt(prompt)
        assert caught.value.node_id == "5"
        assert caught.value.exception_type == "return_type_mismatch"

    def test_interrupting_and_going_on(
        self, server: ComfyServer, object_info: dict[str, Any], checkpoint: str, root: Path
    ):
        prompt = to_api(load(root / "workflows" / file_name("animate")), object_info)
        set_value(prompt, "checkpoint", checkpoint)
        set_image(prompt, server.upload_image(root / "assets" / "sailboat.png", "a boat.png"))
        for setting, value in {"width": 128, "height": 128, "steps": 900}.items():
            set_value(prompt, setting, value)

        seen: list[tuple[int, int]] = []

        def interrupt(_: str, value: int, maximum: int) -> None:
            seen.append((value, maximum))
            # Once: a second interrupt would hit the next prompt.
            if value and not any(earlier for earlier, _ in seen[:-1]):
                server.interrupt()

        with pytest.raises(InterruptedPromptError):
            server.prompt(prompt, on_progress=interrupt, timeout=PATIENCE)
        set_value(prompt, "seed", 5)
        with pytest.raises(PromptTimeoutError):
            server.prompt(prompt, timeout=2)
        image = {"width": 8, "height": 8, "batch_size": 1, "color": 0}
        after = {"1": {"class_type": "EmptyImage", "inputs": image}, **save("1")}
        assert server.prompt(after, timeout=PATIENCE)["save"]["images"]


def save(source: str) -> dict[str, Any]:
    inputs = {"images": [source, 0], "filename_prefix": "test"}
    return {"save": {"class_type": "SaveImage", "inputs": inputs}}


def exports() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name, workflow, prompt) of what the page exported, from ComfyUI's own templates."""
    found = []
    try:
        files = distribution(TEMPLATES).files or []
    except PackageNotFoundError:
        return []
    for file in files:
        if file.suffix == ".mp3":
            with av.open(str(file.locate())) as container:
                metadata = dict(container.metadata)
            if {"workflow", "prompt"} <= set(metadata):
                parts = (json.loads(metadata[key]) for key in ("workflow", "prompt"))
                found.append((file.stem, *parts))
    return found


def test_converts_as_the_page_does(object_info: dict[str, Any]):
    compared = 0
    for name, workflow, expected in exports():
        if not {node["class_type"] for node in expected.values()} <= set(object_info):
            continue  # Nodes that need the network are off.
        prompt = to_api(workflow, object_info)
        assert set(prompt) == set(expected), name
        for node_id, node in expected.items():
            ours = prompt[node_id]["inputs"]
            theirs = {k: v for k, v in node["inputs"].items() if k not in PAGE_ONLY}
            # Inputs that are younger than the export have their default in ours.
            assert {k: v for k, v in ours.items() if k in theirs} == theirs, (name, node_id)
        compared += 1
    if not compared:
        pytest.skip(f"{TEMPLATES} is not installed: no exports of the page to compare with")
