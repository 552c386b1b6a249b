"""The subgraph blueprint: listed by the server, and one node that animates an image."""

import json
from typing import Any

import pytest
import torch
from comfyui.workflow_api import to_api
from graphs import Graph
from studio import Studio, picture

pytestmark = pytest.mark.server
NAME = "Animate Image (DynamiCrafter)"


@pytest.fixture(scope="module")
def blueprint(studio: Studio) -> dict[str, Any]:
    entries = studio.server.get("/global_subgraphs")
    (found,) = (key for key, entry in entries.items() if entry["name"] == NAME)
    return json.loads(studio.server.get(f"/global_subgraphs/{found}")["data"])


@pytest.fixture(scope="module")
def prompt(studio: Studio, blueprint: dict[str, Any]) -> dict[str, Any]:
    return to_api(blueprint, studio.server.object_info())


def test_the_root_is_one_subgraph_node(blueprint: dict[str, Any]) -> None:
    (instance,), (definition,) = blueprint["nodes"], blueprint["definitions"]["subgraphs"]
    assert instance["type"] == definition["id"]
    assert instance["title"] == definition["name"] == NAME
    for outer, inner in (("inputs", "inputs"), ("outputs", "outputs")):
        assert [s["name"] for s in instance[outer]] == [s["name"] for s in definition[inner]]


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


def test_the_image_reaches_both_streams(blueprint: dict[str, Any]) -> None:
    (definition,) = blueprint["definitions"]["subgraphs"]
    nodes = {node["id"]: node["type"] for node in definition["nodes"]}
    (image,) = (entry for entry in definition["inputs"] if entry["type"] == "IMAGE")
    targets = [nodes[k["target_id"]] for k in definition["links"] if k["id"] in image["linkIds"]]
    streams = {"DynamiCrafterContextEncode", "DynamiCrafterVisualDetailGuidance"}
    assert set(targets) == streams


def test_its_settings_are_those_of_the_published_method(prompt: dict[str, Any]) -> None:
    by_type = {node["class_type"]: node["inputs"] for node in prompt.values()}
    sampler = by_type["DynamiCrafterSampler"]
    assert (sampler["steps"], sampler["cfg"], sampler["eta"]) == (50, 7.5, 1.0)
    detail = by_type["DynamiCrafterVisualDetailGuidance"]
    assert (detail["width"], detail["height"], detail["length"]) == (512, 320, 16)
    assert (detail["mode"], detail["fps"]) == ("animate", 0)


def test_it_animates_an_image(studio: Studio, prompt: dict[str, Any], graph: Graph) -> None:
    graph.prompt = json.loads(json.dumps(prompt))
    image = studio.image(graph, picture(64, 64))
    small = {
        "DynamiCrafterCheckpointLoader": {"ckpt_name": studio.small_checkpoint("512")},
        "DynamiCrafterVisualDetailGuidance": {
            "width": 64,
            "height": 64,
            "length": 4,
            "image": image,
        },
        "DynamiCrafterContextEncode": {"image": image},
        "DynamiCrafterSampler": {"steps": 2},
    }
    for node in graph.prompt.values():
        node["inputs"].update(small.get(node["class_type"], {}))
    (decode,) = (
        k for k, n in graph.prompt.items() if n["class_type"] == "DynamiCrafterVideoDecode"
    )
    frames = studio.run(graph, images=[decode, 0])["images"]["value"]
    assert frames.shape == (4, 64, 64, 3)
    assert torch.isfinite(frames).all() and frames.std() > 0
