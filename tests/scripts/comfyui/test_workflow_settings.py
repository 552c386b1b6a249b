import json
from pathlib import Path
from typing import Any

import pytest
from comfyui.workflow_api import WorkflowError
from comfyui.workflow_settings import (
    pictures,
    set_all_pictures,
    set_all_words,
    set_end_image,
    set_image,
    set_value,
    set_words,
)
from shipped.names import file_name

Prompt = dict[str, Any]


def made(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


@pytest.fixture
def prompt() -> Prompt:
    return {
        "1": made("DynamiCrafterCheckpointLoader", ckpt_name="a.ckpt"),
        "2": made("LoadImage", image="a.png"),
        "3": made("CLIPTextEncode", text="a boat"),
        "4": made("CLIPTextEncode", text=""),
        "5": made("DynamiCrafterContextProjection", positive=["3", 0], negative=["4", 0]),
        "6": made(
            "DynamiCrafterVisualDetailGuidance",
            **{"positive": ["5", 0], "negative": ["5", 1], "image": ["2", 0]},
            **{"width": 512, "height": 320, "length": 16, "mode": "animate", "fps": 0},
        ),
        "7": made("DynamiCrafterSampler", positive=["6", 0], seed=1, steps=50),
    }


def test_values(prompt: Prompt):
    for setting, value in {
        **{"checkpoint": "b.ckpt", "seed": 5, "steps": 3, "width": 64, "height": 72},
        **{"frames": 8, "fps": 12},
    }.items():
        set_value(prompt, setting, value)
    assert prompt["1"]["inputs"] == {"ckpt_name": "b.ckpt"}
    assert prompt["7"]["inputs"] == {"positive": ["6", 0], "seed": 5, "steps": 3}
    detail = prompt["6"]["inputs"]
    assert [detail[k] for k in ("width", "height", "length", "fps")] == [64, 72, 8, 12]


def test_a_linked_setting_is_left_alone(prompt: Prompt):
    prompt["7"]["inputs"]["seed"] = ["9", 0]
    with pytest.raises(WorkflowError, match="no setting for --seed"):
        set_value(prompt, "seed", 5)
    assert prompt["7"]["inputs"]["seed"] == ["9", 0]


def test_words(prompt: Prompt):
    set_words(prompt, "a storm")
    assert prompt["3"]["inputs"]["text"] == "a storm"
    assert prompt["4"]["inputs"]["text"] == ""


def test_image_through_another_node(prompt: Prompt):
    prompt["8"] = made("ImageScale", image=["2", 0])
    prompt["6"]["inputs"]["image"] = ["8", 0]
    set_image(prompt, "b.png")
    assert prompt["2"]["inputs"]["image"] == "b.png"


def test_an_end_image_interpolates(prompt: Prompt):
    set_end_image(prompt, "end.png")
    detail = prompt["6"]["inputs"]
    assert detail["mode"] == "interpolate"
    assert prompt[detail["end_image"][0]] == {
        "class_type": "LoadImage",
        "inputs": {"image": "end.png"},
        "_meta": {"title": "End image"},
    }
    set_end_image(prompt, "other.png")
    assert prompt[detail["end_image"][0]]["inputs"]["image"] == "other.png"
    assert prompt["2"]["inputs"]["image"] == "a.png"


@pytest.fixture
def story() -> Prompt:
    shot = {"prompt": "a boat", "length": 16, "fps": 0}
    return {
        "1": made("LoadImage", image="a.png"),
        "2": made("LoadImage", image="b.png"),
        "3": made("DynamiCrafterStoryboard", shots=["5", 0], seed=1, steps=50, width=512),
        "4": made("DynamiCrafterShot", **shot, image=["1", 0]),
        "5": made("DynamiCrafterShot", **shot, image=["2", 0], shots=["4", 0]),
    }


def test_a_storyboards_first_shot_gets_image_and_words(story: Prompt):
    set_image(story, "c.png")
    set_words(story, "a storm")
    assert pictures(story) == {"c.png", "b.png"}
    assert story["1"]["inputs"]["image"] == "c.png"
    assert [story[i]["inputs"]["prompt"] for i in "45"] == ["a storm", "a boat"]


def test_a_storyboards_values(story: Prompt):
    for setting, value in {"seed": 5, "steps": 3, "width": 64, "frames": 8, "fps": 4}.items():
        set_value(story, setting, value)
    board = story["3"]["inputs"]
    assert [board[k] for k in ("seed", "steps", "width")] == [5, 3, 64]
    for shot in "45":
        assert [story[shot]["inputs"][k] for k in ("length", "fps")] == [8, 4]


def test_words_of_a_prompt_schedule(prompt: Prompt):
    prompt["3"] = made("DynamiCrafterPromptSchedule", prompts="0: a boat", length=16)
    set_words(prompt, "0: calm\n8: storm")
    set_value(prompt, "frames", 12)
    assert prompt["3"]["inputs"] == {"prompts": "0: calm\n8: storm", "length": 12}
    assert prompt["6"]["inputs"]["length"] == 12


def test_settings_that_a_workflow_lacks():
    with pytest.raises(WorkflowError, match="--prompt"):
        set_words({}, "a storm")
    with pytest.raises(WorkflowError, match="--end-image"):
        set_end_image({}, "a.png")
    with pytest.raises(WorkflowError, match="--image"):
        set_image({"6": made("DynamiCrafterVisualDetailGuidance")}, "a.png")


def test_every_setting_exists_in_the_published_nodes(root: Path):
    # The contract of the shipped workflow: the demo's flags have something to set in it.
    workflow = json.loads((root / "workflows" / file_name("animate")).read_text(encoding="utf-8"))
    widgets = {
        (node["type"], slot["name"])
        for node in workflow["nodes"]
        for slot in node.get("inputs", [])
        if slot.get("widget")
    }
    assert {
        ("DynamiCrafterCheckpointLoader", "ckpt_name"),
        ("DynamiCrafterSampler", "seed"),
        ("DynamiCrafterSampler", "steps"),
        ("DynamiCrafterVisualDetailGuidance", "length"),
        ("DynamiCrafterVisualDetailGuidance", "fps"),
    } <= widgets


def test_all_words_and_pictures_in_the_workflows_order():
    prompt = {
        "3:10": made("CLIPTextEncode", text="second"),
        "2": made("CLIPTextEncode", text="first"),
        "4": made("CLIPTextEncode", text=""),
        "12": made("DynamiCrafterShot", prompt="third"),
        "9": made("LoadImage", image="a"),
        "11": made("LoadImage", image="b"),
        "1": made("LoadImage", image="c"),
    }
    set_all_words(prompt, ["one", "two"])
    set_all_pictures(prompt, ["x.png", "y.png"])
    assert [prompt[key]["inputs"]["text"] for key in ("2", "3:10", "4")] == ["one", "two", ""]
    assert prompt["12"]["inputs"]["prompt"] == "two"
    assert [prompt[key]["inputs"]["image"] for key in ("1", "9", "11")] == [
        "x.png",
        "y.png",
        "y.png",
    ]
