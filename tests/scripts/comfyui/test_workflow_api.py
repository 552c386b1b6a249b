from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from comfyui.workflow_api import WorkflowError, to_api

INFO: Mapping[str, Any] = {
    "Load": {"input": {"required": {"name": [["a.ckpt"]]}}, "display_name": "Load a file"},
    "Encode": {"input": {"required": {"text": ["STRING", {}], "clip": ["CLIP", {}]}}},
    "Sample": {
        "input": {
            "required": {"model": ["MODEL", {}], "seed": ["INT", {}], "cond": ["COND", {}]},
            "optional": {"mask": ["MASK", {}], "cfg": ["FLOAT", {"default": 7.5}]},
        }
    },
    "Patch": {"input": {"required": {"clip": ["CLIP", {}], "model": ["MODEL", {}]}}},
    "Join": {"input": {"required": {"a": ["COND", {}], "b": ["COND", {}]}}},
    "Box": {"input": {"required": {"box": ["BOUNDING_BOX", {"socketless": True}]}}},
    "Save": {"input": {"required": {"images": ["IMAGE", {}]}}},
}
Node = dict[str, Any]


def slot(name: str, kind: str, link: int | None = None, *, widget: bool = False) -> Node:
    return {
        "name": name,
        "type": kind,
        "link": link,
        **({"widget": {"name": name}} if widget else {}),
    }


def node(
    node_id: int | str,
    kind: str,
    inputs: Sequence[Node] = (),
    outputs: str = "",
    **more: Any,
) -> Node:
    outs = [{"name": name, "type": name} for name in outputs.split()]
    return {"id": node_id, "type": kind, "inputs": list(inputs), "outputs": outs, "mode": 0, **more}


LOAD = node(1, "Load", outputs="MODEL CLIP", widgets_values=["a.ckpt"])


def convert(nodes: list[Node], links: list[list[Any]], **more: Any) -> dict[str, Any]:
    return to_api({"nodes": nodes, "links": links, **more}, INFO)


def inputs(prompt: dict[str, Any], node_id: str) -> dict[str, Any]:
    return prompt[node_id]["inputs"]


def test_values_and_links():
    prompt = convert(
        [
            LOAD,
            node(
                2,
                "Encode",
                [slot("clip", "CLIP", 1)],
                "COND",
                widgets_values=["a boat"],
                title="Words",
            ),
        ],
        [[1, 1, 1, 2, 0, "CLIP"]],
    )
    assert prompt == {
        "1": {
            "inputs": {"name": "a.ckpt"},
            "class_type": "Load",
            "_meta": {"title": "Load a file"},
        },
        "2": {
            "inputs": {"text": "a boat", "clip": ["1", 1]},
            "class_type": "Encode",
            "_meta": {"title": "Words"},
        },
    }


def test_a_widget_that_became_an_input_is_a_link():
    maker = node(3, "Encode", [], "STRING", widgets_values=["x"])
    reader = node(
        2, "Encode", [slot("text", "STRING", 5, widget=True)], "COND", widgets_values=["left over"]
    )
    assert inputs(convert([maker, reader], [[5, 3, 0, 2, 0, "STRING"]]), "2")["text"] == ["3", 0]


def test_optional_inputs_come_after_required_ones():
    sample = node(2, "Sample", [slot("mask", "MASK")], widgets_values=[5, "fixed", 3.0])
    assert inputs(convert([sample], []), "2") == {"seed": 5, "cfg": 3.0}


def test_a_list_as_a_value_is_no_link():
    prompt = convert([node(1, "Box", widgets_values=[[1, 2]])], [])
    assert inputs(prompt, "1") == {"box": {"__value__": [1, 2]}}


class TestModes:
    def test_muted_nodes_go_with_their_links(self):
        muted = node(2, "Encode", [slot("clip", "CLIP", 1)], "COND", mode=2)
        sample = node(3, "Sample", [slot("model", "MODEL", 3), slot("cond", "COND", 2)])
        links = [[1, 1, 1, 2, 0, "CLIP"], [2, 2, 0, 3, 1, "COND"], [3, 1, 0, 3, 0, "MODEL"]]
        prompt = convert([LOAD, muted, sample], links)
        assert set(prompt) == {"1", "3"}
        assert "cond" not in inputs(prompt, "3")
        assert inputs(prompt, "3")["model"] == ["1", 0]

    def test_a_bypassed_node_hands_on_the_input_of_the_wanted_type(self):
        patch = node(
            2, "Patch", [slot("clip", "CLIP", 1), slot("model", "MODEL", 2)], "MODEL", mode=4
        )
        sample = node(3, "Sample", [slot("model", "MODEL", 3)])
        links = [[1, 1, 1, 2, 0, "CLIP"], [2, 1, 0, 2, 1, "MODEL"], [3, 2, 0, 3, 0, "MODEL"]]
        prompt = convert([LOAD, patch, sample], links)
        assert inputs(prompt, "3")["model"] == ["1", 0]
        assert "2" not in prompt

    @pytest.mark.parametrize("output", [0, 1])
    def test_it_prefers_the_same_place(self, output: int):
        encoders = [node(i, "Encode", outputs="COND") for i in (5, 6)]
        join = node(2, "Join", [slot("a", "COND", 1), slot("b", "COND", 2)], "COND COND", mode=4)
        sample = node(3, "Sample", [slot("cond", "COND", 3)])
        links = [[1, 5, 0, 2, 0, "COND"], [2, 6, 0, 2, 1, "COND"], [3, 2, output, 3, 0, "COND"]]
        prompt = convert([*encoders, join, sample], links)
        assert inputs(prompt, "3")["cond"] == [str(5 + output), 0]

    def test_it_hands_on_nothing_that_does_not_fit(self):
        encode = node(2, "Encode", [slot("clip", "CLIP", 1)], "COND", mode=4)
        sample = node(3, "Sample", [slot("cond", "COND", 2)])
        prompt = convert([LOAD, encode, sample], [[1, 1, 1, 2, 0, "CLIP"], [2, 2, 0, 3, 0, "COND"]])
        assert "cond" not in inputs(prompt, "3")

    def test_an_unknown_node_may_be_bypassed(self):
        unknown = node(2, "Unknown", [slot("any", "*", 1)], "MODEL", mode=4)
        sample = node(3, "Sample", [slot("model", "MODEL", 2)])
        prompt = convert(
            [LOAD, unknown, sample], [[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "MODEL"]]
        )
        assert inputs(prompt, "3")["model"] == ["1", 0]


class TestVirtualNodes:
    def test_reroutes_are_seen_through(self):
        reroutes = [
            node(2, "Reroute", [slot("", "*", 1)], "MODEL"),
            node(3, "Reroute", [slot("", "*", 2)], "MODEL"),
        ]
        sample = node(4, "Sample", [slot("model", "MODEL", 3)])
        links = [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 3, 0, "*"], [3, 3, 0, 4, 0, "*"]]
        prompt = convert([LOAD, *reroutes, sample], links)
        assert inputs(prompt, "4")["model"] == ["1", 0]
        assert set(prompt) == {"1", "4"}

    def test_an_open_reroute_is_no_input(self):
        sample = node(4, "Sample", [slot("model", "MODEL", 3)])
        prompt = convert([node(2, "Reroute", [slot("", "*")], "*"), sample], [[3, 2, 0, 4, 0, "*"]])
        assert "model" not in inputs(prompt, "4")

    def test_a_primitive_is_its_value(self):
        primitive = node(2, "PrimitiveNode", [], "INT", widgets_values=[42, "fixed"])
        sample = node(3, "Sample", [slot("seed", "INT", 1, widget=True)], widgets_values=[7])
        prompt = convert([primitive, sample], [[1, 2, 0, 3, 0, "INT"]])
        assert inputs(prompt, "3")["seed"] == 42
        assert set(prompt) == {"3"}

    def test_notes_are_dropped(self):
        notes = [node(8, "Note", widgets_values=["hi"]), node(9, "MarkdownNote")]
        assert set(convert([LOAD, *notes], [])) == {"1"}


class TestSubgraphs:
    def inner(self, **more: Any) -> dict[str, Any]:
        """An encoder and a reroute: inputs clip and text, output the condition."""
        return {
            "id": "words",
            "inputNode": {"id": -10},
            "outputNode": {"id": -20},
            "inputs": [
                {"name": "clip", "type": "CLIP", "linkIds": [1]},
                {"name": "prompt", "type": "STRING", "linkIds": [2]},
            ],
            "outputs": [{"name": "COND", "type": "COND", "linkIds": [4]}],
            "nodes": [
                node(
                    7,
                    "Encode",
                    [slot("clip", "CLIP", 1), slot("text", "STRING", 2, widget=True)],
                    "COND",
                    widgets_values=["inside"],
                ),
                node(8, "Reroute", [slot("", "*", 3)], "COND"),
            ],
            "links": [
                {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 7, "target_slot": 0},
                {"id": 2, "origin_id": -10, "origin_slot": 1, "target_id": 7, "target_slot": 1},
                {"id": 3, "origin_id": 7, "origin_slot": 0, "target_id": 8, "target_slot": 0},
                {"id": 4, "origin_id": 8, "origin_slot": 0, "target_id": -20, "target_slot": 0},
            ],
            **more,
        }

    def convert(self, host: Node, *more: dict[str, Any]) -> dict[str, Any]:
        sample = node(3, "Sample", [slot("cond", "COND", 2)])
        links = [[1, 1, 1, 2, 0, "CLIP"], [2, 2, 0, 3, 0, "COND"]]
        subgraphs = {"subgraphs": [self.inner(), *more]}
        return convert([LOAD, host, sample], links, definitions=subgraphs)

    def host(self, *more: Node, **fields: Any) -> Node:
        return node(2, "words", [slot("clip", "CLIP", 1), *more], "COND", **fields)

    def test_links_cross_the_border_both_ways(self):
        prompt = self.convert(self.host())
        assert inputs(prompt, "3")["cond"] == ["2:7", 0]
        assert inputs(prompt, "2:7") == {"clip": ["1", 1], "text": "inside"}
        assert set(prompt) == {"1", "3", "2:7"}

    def test_its_own_widget_wins(self):
        own = slot("prompt", "STRING", widget=True)
        prompt = self.convert(self.host(own, widgets_values=["outside"]))
        assert inputs(prompt, "2:7")["text"] == "outside"
        # The page leaves unlinked widget slots out of the file.
        prompt = self.convert(self.host(widgets_values=["outside"]))
        assert inputs(prompt, "2:7")["text"] == "outside"

    def test_a_link_from_outside_wins_over_both(self):
        own = slot("prompt", "STRING", 9, widget=True)
        primitive = node(5, "PrimitiveNode", outputs="STRING", widgets_values=["linked"])
        host = self.host(own, widgets_values=["outside"])
        links = [[1, 1, 1, 2, 0, "CLIP"], [9, 5, 0, 2, 1, "STRING"]]
        subgraphs = {"subgraphs": [self.inner()]}
        prompt = convert([LOAD, primitive, host], links, definitions=subgraphs)
        assert inputs(prompt, "2:7")["text"] == "linked"

    def test_shown_widgets_of_inner_nodes(self):
        shown = {"proxyWidgets": [["7", "text"], ["7", "control_after_generate"]]}
        prompt = self.convert(
            self.host(properties=shown, widgets_values=["shown outside", "fixed"])
        )
        assert inputs(prompt, "2:7") == {"clip": ["1", 1], "text": "shown outside"}

    def test_nested(self):
        outer = {
            "id": "outer",
            "inputs": [{"name": "clip", "type": "CLIP", "linkIds": [1]}],
            "outputs": [{"name": "COND", "type": "COND", "linkIds": [2]}],
            "nodes": [node(6, "words", [slot("clip", "CLIP", 1)], "COND", widgets_values=["deep"])],
            "links": [
                {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 6, "target_slot": 0},
                {"id": 2, "origin_id": 6, "origin_slot": 0, "target_id": -20, "target_slot": 0},
            ],
        }
        host = node(2, "outer", [slot("clip", "CLIP", 1)], "COND")
        prompt = self.convert(host, outer)
        assert inputs(prompt, "3")["cond"] == ["2:6:7", 0]
        assert inputs(prompt, "2:6:7") == {"clip": ["1", 1], "text": "deep"}

    @pytest.mark.parametrize("mode", [2, 4])
    def test_switched_off_as_a_whole(self, mode: int):
        prompt = self.convert(self.host(mode=mode))
        assert set(prompt) == {"1", "3"}
        assert "cond" not in inputs(prompt, "3")

    def test_one_that_contains_itself(self):
        inner = self.inner()
        inner["nodes"].append(node(9, "words"))
        with pytest.raises(WorkflowError, match="contains itself"):
            convert([self.host()], [], definitions={"subgraphs": [inner]})


def test_a_node_that_the_server_lacks():
    with pytest.raises(WorkflowError, match=r"uses the node Nowhere \(id 4\), which this ComfyUI"):
        convert([node(4, "Nowhere")], [])


def test_a_circle():
    reroutes = [
        node(2, "Reroute", [slot("", "*", 2)], "*"),
        node(3, "Reroute", [slot("", "*", 1)], "*"),
        node(4, "Save", [slot("images", "IMAGE", 3)]),
    ]
    with pytest.raises(WorkflowError, match="run in a circle"):
        convert(reroutes, [[1, 2, 0, 3, 0, "*"], [2, 3, 0, 2, 0, "*"], [3, 2, 0, 4, 0, "*"]])


def test_an_api_prompt_is_no_workflow():
    with pytest.raises(WorkflowError, match="no list of nodes"):
        to_api({"1": {"class_type": "Load", "inputs": {}}}, INFO)
