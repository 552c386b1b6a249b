"""Where things go into workflows, in words where it cannot be known."""

from typing import Any

import pytest

pytest.importorskip("av")

from evaluation.systems.base import SystemStopped
from evaluation.systems.places import find_places, set_places


def prompt() -> dict[str, dict[str, Any]]:
    """A stock graph: a picture, two texts, a node for size and length, a sampler."""
    nodes = {
        "3": ("LoadImage", {"image": "a.png"}),
        "4": ("CLIPTextEncode", {"text": "a boat"}),
        "5": ("CLIPTextEncode", {"text": ""}),
        "8": (
            "WanImageToVideo",
            {
                "positive": ["4", 0],
                "negative": ["5", 0],
                "start_image": ["3", 0],
                "width": 512,
                "height": 320,
                "length": 81,
            },
        ),
        "9": ("KSampler", {"positive": ["8", 0], "negative": ["8", 1], "seed": 1, "steps": 20}),
    }
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


def test_places_of_a_stock_graph():
    assert find_places(prompt(), {}) == {
        "picture": ["3.image"],
        "prompt": ["4.text"],
        "seed": ["9.seed"],
        "width": ["8.width"],
        "height": ["8.height"],
        "frames": ["8.length"],
    }


def test_values_go_where_they_belong_and_nowhere_else():
    graph = prompt()
    wanted = {"picture": "b.png", "prompt": "x", "seed": 7, "width": 64, "height": 48, "frames": 16}
    filled = set_places(graph, find_places(graph, {}), wanted, {"9.steps": 5})
    assert filled["3"]["inputs"]["image"] == "b.png"
    assert filled["4"]["inputs"]["text"] == "x"
    assert filled["5"]["inputs"]["text"] == ""
    assert filled["9"]["inputs"] | {"seed": 7, "steps": 5} == filled["9"]["inputs"]
    size = [filled["8"]["inputs"][name] for name in ("width", "height", "length")]
    assert size == [64, 48, 16]
    assert graph == prompt()


def test_a_graph_without_a_picture_input_is_named():
    graph = prompt()
    del graph["3"]
    with pytest.raises(SystemStopped, match="needs a LoadImage node for the picture and has none"):
        find_places(graph, {})


def test_several_pictures_want_a_choice():
    graph = prompt() | {"12": {"class_type": "LoadImage", "inputs": {"image": "c.png"}}}
    with pytest.raises(SystemStopped, match=r"has 2: 3\.image, 12\.image; set places\.picture"):
        find_places(graph, {})
    assert find_places(graph, {"picture": "12.image"})["picture"] == ["12.image"]


def test_places_that_are_not_there_are_named():
    with pytest.raises(SystemStopped, match=r"places\.prompt is '4\.words'"):
        find_places(prompt(), {"prompt": "4.words"})
    with pytest.raises(SystemStopped, match="the workflow has no node 77"):
        set_places(prompt(), {}, {}, {"77.steps": 5})


def test_a_graph_without_positive_takes_its_only_text():
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "ApiVideo", "inputs": {"prompt": "a boat", "image": ["1", 0]}},
    }
    assert find_places(graph, {})["prompt"] == ["2.prompt"]
