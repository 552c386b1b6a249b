"""The conversion of other packs' workflows: what becomes of every value and wire."""

import json
from itertools import combinations
from typing import Any

import foreign_workflows as theirs
import pytest
from converter.convert import convert
from converter.graph import read, write
from converter.packs import FOREIGN
from foreign_workflows import Sheet

DETAIL, SAMPLER = "DynamiCrafterVisualDetailGuidance", "DynamiCrafterSampler"
LOADER = "DynamiCrafterCheckpointLoader"


class Converted:
    """A converted workflow, read by nodes' types."""

    def __init__(self, data: dict[str, Any]) -> None:
        graph = read(json.loads(json.dumps(data)))
        assert convert(graph) > 0
        self.lost = " | ".join(graph.lost)
        self.saved = write(graph)
        self.nodes = graph.nodes

    def all(self, kind: str) -> list[Any]:
        return [node for node in self.nodes.values() if node.type == kind]

    def one(self, kind: str) -> Any:
        (node,) = self.all(kind)
        return node

    def source(self, kind: str, name: str) -> str:
        """The type of the node that feeds an input."""
        return self.nodes[self.one(kind).links[name].node].type


def converted(sheet: Sheet) -> Converted:
    return Converted(sheet.saved())


@pytest.fixture(scope="module", params=theirs.EVERY)
def case(request: pytest.FixtureRequest) -> Converted:
    return converted(theirs.EVERY[request.param])


def test_every_wire_agrees_with_both_ends(case: Converted) -> None:
    nodes = {node["id"]: node for node in case.saved["nodes"]}
    assert len(nodes) == len(case.saved["nodes"])
    listed = {link[0]: link for link in case.saved["links"]}
    for key, origin, slot, target, at, kind in listed.values():
        assert key in nodes[origin]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][at]["link"] == key
        assert nodes[origin]["outputs"][slot]["type"] == kind
    ends = [s["link"] for n in nodes.values() for s in n["inputs"] if s["link"] is not None]
    assert sorted(ends) == sorted(listed)
    assert not {node["type"] for node in nodes.values()} & set(FOREIGN)


def test_wires_join_equal_types(case: Converted) -> None:
    nodes = {node["id"]: node for node in case.saved["nodes"]}
    for _, origin, slot, target, at, _ in case.saved["links"]:
        kinds = nodes[origin]["outputs"][slot]["type"], nodes[target]["inputs"][at]["type"]
        assert kinds[0] == kinds[1], (nodes[origin]["type"], nodes[target]["type"])


def test_nothing_overlaps(case: Converted) -> None:
    boxes = []
    for node in case.saved["nodes"]:
        (x, y), size = node["pos"], node["size"]
        width, height = size.values() if isinstance(size, dict) else size
        boxes.append((x, y - 30, x + width, y + height, node["type"]))
    for one, other in combinations(boxes, 2):
        aside = one[2] <= other[0] or other[2] <= one[0]
        assert aside or one[3] <= other[1] or other[3] <= one[1], (one, other)


def test_the_wrappers_values_arrive() -> None:
    found = converted(theirs.wrapper_animates())
    loader, detail, sampler = found.one(LOADER), found.one(DETAIL), found.one(SAMPLER)
    assert loader.values["ckpt_name"] == "dynamicrafter/dynamicrafter_1024_v1_bf16.safetensors"
    assert loader.values["weight_dtype"] == "bf16"
    sized = {k: detail.values[k] for k in ("width", "height", "length", "fps", "mode")}
    assert sized == {"width": 640, "height": 328, "length": 12, "fps": 8, "mode": "animate"}
    taken = {k: sampler.values[k] for k in ("seed", "steps", "cfg", "eta")}
    assert taken == {"seed": 7, "steps": 25, "cfg": 6.5, "eta": 0.5}
    assert found.one("CLIPLoader").values["type"] == "stable_diffusion"
    assert found.one("CreateVideo").values["fps"] == 12
    assert found.one("SaveVideo").values["filename_prefix"] == "theirs"
    assert "augmentation_level = 0.2" in found.lost and "frame_window" not in found.lost
    for name, kind in (("clip_vision", "CLIPVisionLoader"), ("image", "ImageScale")):
        assert found.source("DynamiCrafterContextEncode", name) == kind
    assert found.source("DynamiCrafterContextProjection", "projector") == LOADER
    assert found.source(DETAIL, "vae") == LOADER
    assert found.one("Note").type == "Note"


def test_drawings_go_into_guidance_and_decoder() -> None:
    found = converted(theirs.wrapper_draws())
    assert found.one(LOADER).values["weight_dtype"] == "fp8_e4m3fn"
    control = found.one("DynamiCrafterSketchControl")
    assert (control.values["control_net_name"], control.values["strength"]) == (
        "sketch.safetensors",
        0.8,
    )
    decode, detail = found.one("DynamiCrafterVideoDecode"), found.one(DETAIL)
    assert detail.values["mode"] == "interpolate"
    assert decode.links["first_image"] == detail.links["image"]
    assert decode.links["last_image"] == detail.links["end_image"] != detail.links["image"]
    assert control.links["sketches"] not in detail.links.values()
    assert found.source(SAMPLER, "positive") == "DynamiCrafterSketchControl"
    assert not found.all("ImageBatch")


def test_a_batch_of_pictures_becomes_shots() -> None:
    found = converted(theirs.wrapper_chains())
    shots = found.all("DynamiCrafterShot")
    assert [shot.values["prompt"] for shot in shots] == ["a door opens"] * 3
    assert len({shot.links["image"] for shot in shots}) == 3
    assert [shot.links.get("shots") for shot in shots] == [None, *((s.id, 0) for s in shots[:-1])]
    story = found.one("DynamiCrafterStoryboard")
    assert story.links["shots"] == (shots[-1].id, 0)
    assert (story.values["mode"], story.values["negative"]) == ("interpolate", "noise")
    assert found.nodes[story.links["seed"].node].type == "PrimitiveNode"
    assert not [n for n in found.nodes.values() if n.type in ("Reroute", "SetNode", "GetNode")]


def test_two_pictures_of_a_batch_are_interpolated() -> None:
    found = converted(theirs.wrapper_chains(2))
    detail = found.one(DETAIL)
    assert detail.values["mode"] == "interpolate"
    assert detail.links["image"] != detail.links["end_image"]


@pytest.mark.parametrize("scheduler", ["normal", "karras"])
def test_stock_samplers_stay(scheduler: str) -> None:
    found = converted(theirs.native(scheduler=scheduler))
    sampler = found.one("KSampler")
    assert found.nodes[sampler.links["model"].node].type == LOADER
    for name in ("positive", "negative", "latent_image"):
        assert found.nodes[sampler.links[name].node].type == DETAIL
    assert found.source("DynamiCrafterContextProjection", "positive") == "CLIPTextEncode"
    assert found.source(DETAIL, "vae") == "VAELoader"
    detail = found.one(DETAIL)
    assert (detail.values["fps"], detail.values["mode"]) == (12, "animate")
    assert not found.all("RescaleCFG") and "RescaleCFG" in found.lost
    assert ("karras" in found.lost) is (scheduler == "karras")
    assert "scale_latents" in found.lost


def test_one_batch_has_both_ends() -> None:
    found = converted(theirs.native(interpolate=True))
    first, last = (
        found.nodes[found.one(DETAIL).links[name].node] for name in ("image", "end_image")
    )
    assert (first.type, last.type) == ("ImageFromBatch", "ImageFromBatch")
    assert first.values["batch_index"] == 0 < last.values["batch_index"]


def test_prompts_inside_a_node_come_out() -> None:
    found = converted(theirs.simple())
    texts = {node.values["text"] for node in found.all("CLIPTextEncode")}
    assert texts == {"a cat runs", ""}
    assert found.one(DETAIL).values["fps"] == 3
    assert found.one(LOADER).values["ckpt_name"] == "dynamicrafter_512/model.ckpt"


def test_a_misnamed_value_goes_where_it_belongs() -> None:
    """`frame_count` is the speed, `fps` that of the finished video."""
    found = converted(theirs.toon_node())
    detail = found.one(DETAIL)
    assert (detail.values["fps"], detail.values["length"]) == (15, 16)
    assert found.one(SAMPLER).values["steps"] == 30


def test_renders_guide_each_frame() -> None:
    found = converted(theirs.view())
    detail = found.one(DETAIL)
    values = [detail.values[name] for name in ("mode", "length", "width", "height", "fps")]
    assert values == ["per_frame", 25, 1024, 576, 8]
    assert found.source(DETAIL, "image") == "ImageScale"
    assert found.source("DynamiCrafterContextEncode", "image") == "ImageFromBatch"


def test_values_by_name_are_read_by_name() -> None:
    """Newer pages list every widget among the inputs; packs' updates change the order."""
    sheet = theirs.wrapper_animates().saved()
    node = next(n for n in sheet["nodes"] if n["type"] == "DynamiCrafterI2V")
    names = ["seed", "steps", "cfg", "eta", "frames", "fs", "keep_model_loaded", "vae_dtype"]
    more = ["frame_window_size", "frame_window_stride", "augmentation_level"]
    node["inputs"] += [
        {"name": name, "type": "INT", "link": None, "widget": {"name": name}}
        for name in names + more
    ]
    node["widgets_values"] = [5, "fixed", 9, 3.0, 0.0, 14, 21, True, "auto", 16, 4, 0.0]
    found = Converted(sheet)
    sampler, detail = found.one(SAMPLER), found.one(DETAIL)
    assert [sampler.values[k] for k in ("seed", "steps", "cfg", "eta")] == [5, 9, 3.0, 0.0]
    assert (detail.values["length"], detail.values["fps"]) == (14, 21)


def test_shifted_values_are_not_believed() -> None:
    sheet = theirs.wrapper_animates().saved()
    node = next(n for n in sheet["nodes"] if n["type"] == "DynamiCrafterI2V")
    node["widgets_values"] = [True, 25, 6.5, 0.5, 12, 7, "randomize", 8, "auto"]
    found = Converted(sheet)
    assert "`steps` reads True" in found.lost
    assert found.one(SAMPLER).values["steps"] == 50


def test_muted_nodes_stay_muted() -> None:
    sheet = theirs.wrapper_animates().saved()
    next(n for n in sheet["nodes"] if n["type"] == "DynamiCrafterI2V")["mode"] = 2
    found = Converted(sheet)
    assert {n["mode"] for n in found.saved["nodes"] if n["type"] in (DETAIL, SAMPLER)} == {2}


def test_a_prompt_for_the_api_stays_one() -> None:
    prompt = {
        "1": {"class_type": "DynamiCrafterModelLoader", "inputs": {"ckpt_name": "x_256.ckpt"}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "rain", "clip": ["8", 0]}},
        "8": {"class_type": "CLIPLoader", "inputs": {"clip_name": "c", "type": "t"}},
        "9": {
            "class_type": "DynamiCrafterI2V",
            "inputs": {
                **{"model": ["1", 0], "positive": ["7", 0], "negative": ["7", 0]},
                **{"image": ["2", 0], "steps": 4, "mask": ["2", 1], "fs": 2},
            },
        },
        "10": {"class_type": "PreviewImage", "inputs": {"images": ["9", 0]}},
    }
    found = Converted({"prompt": prompt})
    kinds = {node["class_type"]: node["inputs"] for node in found.saved.values()}
    assert kinds[SAMPLER]["steps"] == 4 and kinds[DETAIL]["fps"] == 2
    assert (kinds[DETAIL]["width"], kinds[DETAIL]["height"]) == (256, 256)
    assert found.saved[kinds["PreviewImage"]["images"][0]]["class_type"].endswith("VideoDecode")
    assert "mask" in found.lost and "256 x 256" in found.lost
