"""Loaders of absent packs: what the host puts in their place."""

import pytest
from studio import Studio

pytestmark = pytest.mark.server


def test_the_host_knows_them(studio: Studio) -> None:
    found = studio.server.get("/node_replacements")
    info = studio.server.object_info()
    ours = {
        "DynamiCrafterModelLoader": "DynamiCrafterCheckpointLoader",
        "DownloadAndLoadCLIPModel": "CLIPLoader",
        "DownloadAndLoadCLIPVisionModel": "CLIPVisionLoader",
    }
    for theirs, new in ours.items():
        (entry,) = found[theirs]
        assert entry["new_node_id"] == new and theirs not in info
        required = {key for key in info[new]["input"]["required"] if key != "device"}
        assert {mapped["new_id"] for mapped in entry["input_mapping"]} == required


def test_a_prompt_with_their_loader_runs(studio: Studio) -> None:
    checkpoint = studio.small_checkpoint()
    theirs = {"ckpt_name": checkpoint, "dtype": "auto", "fp8_unet": False}
    prompt = {
        "1": {"class_type": "DynamiCrafterModelLoader", "inputs": theirs, "_meta": {"title": ""}},
        "2": {
            "class_type": "DynamiCrafterLambdaPlot",
            "inputs": {"model": ["1", 0]},
            "_meta": {"title": ""},
        },
        "3": {
            "class_type": "PreviewImage",
            "inputs": {"images": ["2", 0]},
            "_meta": {"title": ""},
        },
    }
    assert studio.server.prompt(prompt)["3"]["images"]


def test_nothing_replaces_what_becomes_several_nodes(studio: Studio) -> None:
    found = studio.server.get("/node_replacements")
    assert not {"DynamiCrafterI2V", "ToonCrafterNode", "DynamiCrafterProcessor"} & set(found)
