"""Across the nodes: the subgraph blueprints, each one node that does one task."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui.workflow_api import to_api
from family import bare
from graphs import Graph
from small_workflows import BOXES
from studio import Studio, picture

pytestmark = pytest.mark.server
PICTURES = {
    "Text to Video (DynamiCrafter)": [],
    "First and Last Frame to Video (DynamiCrafter)": ["first_frame", "last_frame"],
    "Cartoon In-between (DynamiCrafter)": ["first_frame", "last_frame"],
}
SETTINGS = (
    *("prompt", "negative_prompt", "fps", "seed", "width", "height", "length"),
    *("steps", "cfg", "checkpoint"),
)
MODES = {
    "Image to Video (DynamiCrafter)": "animate",
    "DynamiCrafter": "animate",
    "First and Last Frame to Video (DynamiCrafter)": "interpolate",
    "Seamless Loop (DynamiCrafter)": "loop",
    "Long Video (DynamiCrafter)": "animate",
    "Cartoon In-between (DynamiCrafter)": "interpolate",
}
LENGTHS = {"Seamless Loop (DynamiCrafter)": 3, "Long Video (DynamiCrafter)": 10}
SIZE = 64


@pytest.fixture(scope="module", params=list(BOXES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def blueprint(studio: Studio, name: str) -> dict[str, Any]:
    entries = studio.server.get("/global_subgraphs")
    (found,) = (key for key, entry in entries.items() if entry["name"] == name)
    return json.loads(studio.server.get(f"/global_subgraphs/{found}")["data"])


@pytest.fixture(scope="module")
def prompt(studio: Studio, blueprint: dict[str, Any]) -> dict[str, Any]:
    return to_api(blueprint, studio.server.object_info())


def test_every_box_is_tested(root: Path) -> None:
    assert {path.stem for path in (root / "subgraphs").glob("*.json")} == set(BOXES)


def test_the_root_is_one_subgraph_node(blueprint: dict[str, Any], name: str) -> None:
    (instance,), (definition,) = blueprint["nodes"], blueprint["definitions"]["subgraphs"]
    assert instance["type"] == definition["id"]
    assert instance["title"] == definition["name"] == name
    assert definition["description"] and definition["category"]
    for outer, inner in (("inputs", "inputs"), ("outputs", "outputs")):
        assert [s["name"] for s in instance[outer]] == [s["name"] for s in definition[inner]]


def test_no_number_is_given_twice(blueprint: dict[str, Any]) -> None:
    """The page would renumber the inner node, and a saved prompt would not fit."""
    (definition,) = blueprint["definitions"]["subgraphs"]
    numbers = [node["id"] for node in (*blueprint["nodes"], *definition["nodes"])]
    assert len(numbers) == len(set(numbers))


def test_its_inputs_say_what_they_are(blueprint: dict[str, Any], name: str) -> None:
    (instance,) = blueprint["nodes"]
    names = [entry["name"] for entry in instance["inputs"]]
    assert names == [*PICTURES.get(name, ["image"]), *SETTINGS]
    assert [entry["name"] for entry in instance["outputs"]] == ["video", "images", "last_frame"]
    # As many values as widgets: no "fixed" after the seed.
    assert len(instance["widgets_values"]) == len(SETTINGS)


def test_the_page_can_offer_its_file(blueprint: dict[str, Any]) -> None:
    (instance,), (definition,) = blueprint["nodes"], blueprint["definitions"]["subgraphs"]
    (loader,) = (n for n in definition["nodes"] if n["type"] == "DynamiCrafterCheckpointLoader")
    (entry,) = loader["properties"]["models"]
    assert instance["properties"]["models"] == [entry]
    assert entry["name"] == instance["widgets_values"][-1]
    assert entry["directory"] == "checkpoints"


def test_links_agree_with_both_ends(blueprint: dict[str, Any]) -> None:
    (definition,) = blueprint["definitions"]["subgraphs"]
    nodes = {node["id"]: node for node in definition["nodes"]}
    for link in definition["links"]:
        key = link["id"]
        if link["origin_id"] in nodes:
            output = nodes[link["origin_id"]]["outputs"][link["origin_slot"]]
            assert key in output["links"] and output["type"] == link["type"]
        else:
            assert key in definition["inputs"][link["origin_slot"]]["linkIds"]
        if link["target_id"] in nodes:
            entry = nodes[link["target_id"]]["inputs"][link["target_slot"]]
            assert entry["link"] == key and entry["type"] == link["type"]
        else:
            assert key in definition["outputs"][link["target_slot"]]["linkIds"]


def test_the_image_reaches_both_streams(blueprint: dict[str, Any], name: str) -> None:
    (definition,) = blueprint["definitions"]["subgraphs"]
    nodes = {node["id"]: node["type"] for node in definition["nodes"]}
    images = [entry for entry in definition["inputs"] if entry["type"] == "IMAGE"]
    if not images:
        assert name.startswith("Text")
        return
    targets = [
        nodes[k["target_id"]] for k in definition["links"] if k["id"] in images[0]["linkIds"]
    ]
    assert {"DynamiCrafterContextEncode", "DynamiCrafterVisualDetailGuidance"} <= set(targets)


def test_its_settings_are_those_of_the_published_method(prompt: dict[str, Any], name: str) -> None:
    by_type = {node["class_type"]: node["inputs"] for node in prompt.values()}
    sampler = by_type["DynamiCrafterSampler"]
    text = name.startswith("Text")
    assert (sampler["steps"], sampler["cfg"], sampler["eta"]) == (50, 12.0 if text else 7.5, 1.0)
    sized = by_type.get("DynamiCrafterVisualDetailGuidance") or by_type["DynamiCrafterEmptyVideo"]
    length = 64 if name.startswith("Long") else 16
    assert (sized["width"], sized["height"], sized["length"]) == (512, 320, length)
    assert sized["fps"] == (28 if text else 0)
    assert sized.get("mode") == MODES.get(name)
    assert by_type["DynamiCrafterVideoDecode"]["drop_last_frame"] is (MODES.get(name) == "loop")


def test_it_makes_a_video(studio: Studio, prompt: dict[str, Any], graph: Graph, name: str) -> None:
    graph.prompt = json.loads(json.dumps(prompt))
    first, last = (studio.image(graph, picture(SIZE, SIZE, phase)) for phase in (0.0, 1.0))
    length = LENGTHS.get(name, 4) if name.startswith("Long") else 4
    both = len(PICTURES.get(name, ["image"])) == 2
    sized = {"width": SIZE, "height": SIZE, "length": length}
    small: dict[str, dict[str, Any]] = {
        "DynamiCrafterCheckpointLoader": {"ckpt_name": bare(studio, BOXES[name])},
        "DynamiCrafterVisualDetailGuidance": {
            "image": first,
            **sized,
            **({"end_image": last} if both else {}),
        },
        "DynamiCrafterEmptyVideo": sized,
        "DynamiCrafterContextEncode": {"image": first},
        "DynamiCrafterSampler": {"steps": 2},
        "ContextWindowsManual": {"context_length": 4, "context_overlap": 2},
    }
    if name.startswith("Cartoon"):
        small["DynamiCrafterVideoDecode"] = {"first_image": first, "last_image": last}
    for node in graph.prompt.values():
        node["inputs"].update(small.get(node["class_type"], {}))
    (decode,) = (
        k for k, n in graph.prompt.items() if n["class_type"] == "DynamiCrafterVideoDecode"
    )
    frames = studio.run(graph, images=[decode, 0])["images"]["value"]
    assert frames.shape == (LENGTHS.get(name, 4), SIZE, SIZE, 3)
    assert torch.isfinite(frames).all() and frames.std() > 0
