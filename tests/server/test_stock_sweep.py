"""Across stock nodes for our MODEL, CONDITIONING, LATENT or SIGMAS: each with its defaults.

What each does stands in `docs/stock_nodes.md`, in the table that this reads.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from comfyui.client import PromptError
from defaults import default_inputs, takes_our_wires
from graphs import Graph, Link, Node
from scene import Scene
from studio import Studio, relative_error
from torch import Tensor

pytestmark = pytest.mark.server

DOCS = Path(__file__).resolve().parents[2] / "docs" / "stock_nodes.md"
EXACT = 1e-5
ROWS = {
    "changes the video": "acts",
    "changes nothing": "nothing",
    "works on the latents": "latents",
    "is refused": "refused",
    "was not tried": "untried",
}


def documented() -> dict[str, str]:
    """What the docs' last table says of each node."""
    found = {}
    for outcome, kind in ROWS.items():
        (row,) = re.findall(rf"^\| {outcome}[^|]* \| (.+) \|$", DOCS.read_text(), re.M)
        found |= {name.strip(): kind for name in row.split(", ")}
    return found


@pytest.fixture(scope="module")
def stock(studio: Studio) -> dict[str, Any]:
    """The host's nodes that take what we give, by id."""
    return {
        node_id: info
        for node_id, info in studio.server.object_info().items()
        if takes_our_wires(info) and not node_id.startswith(("DynamiCrafter", "Test"))
    }


def with_node(scene: Scene, node: Node, info: dict[str, Any]) -> Link:
    """What becomes of a stage of one step with the node in its place."""
    outputs = {kind: slot for slot, kind in reversed(list(enumerate(map(str, info["output"]))))}
    model, positive, negative = scene.model, scene.positive, scene.negative
    try:
        if "MODEL" in outputs:
            scene.model = node[outputs["MODEL"]]
        if "CONDITIONING" in outputs:
            scene.positive = node[outputs["CONDITIONING"]]
        given = {
            "GUIDER": scene.cfg_guider,
            "SAMPLER": scene.sampler,
            "SIGMAS": lambda: scene.sigmas(1, denoise=0.5),
        }
        stage = [node[outputs[k]] if k in outputs else make() for k, make in given.items()]
        changed = {"MODEL", "CONDITIONING", *given} & set(outputs)
        return scene.sample_custom(scene.unit_noise(), *stage) if changed else node[0]
    finally:
        scene.model, scene.positive, scene.negative = model, positive, negative


def outcome(studio: Studio, node_id: str, info: dict[str, Any]) -> Any:
    """Of one node: the error's message, or the latents."""
    scene = Scene(studio, Graph(), size=32, frames=2)
    node = scene.graph.add(node_id, **(default_inputs(scene, info) or {}))
    try:
        return studio.run(scene.graph, out=with_node(scene, node, info))["out"]
    except PromptError as error:
        return str(error)


def test_every_node_has_its_place_in_the_docs(studio: Studio, stock: dict[str, Any]) -> None:
    assert set(stock) - set(documented()) == set()
    scene = Scene(studio, Graph(), size=32, frames=2)
    lacking = {name for name, info in stock.items() if default_inputs(scene, info) is None}
    untried = {name for name, kind in documented().items() if kind == "untried"}
    assert lacking - untried == set()


def test_nodes_that_run_do_what_the_docs_say(studio: Studio, stock: dict[str, Any]) -> None:
    scene = Scene(studio, Graph(), size=32, frames=2)
    outputs = {"plain": scene.stock(steps=1, denoise=0.5)}
    kinds = {name: kind for name, kind in documented().items() if name in stock}
    for name, kind in kinds.items():
        if kind in ("acts", "nothing", "latents"):
            node = scene.graph.add(name, **(default_inputs(scene, stock[name]) or {}))
            outputs[name] = with_node(scene, node, stock[name])
    results = {k: v["value.samples"] for k, v in studio.run(scene.graph, **outputs).items()}
    plain = results.pop("plain")
    wrong = {
        name: found.shape
        for name, found in results.items()
        if kinds[name] != "latents"
        and kinds[name] != ("acts" if differs(found, plain) else "nothing")
    }
    assert wrong == {}


def differs(found: Tensor, plain: Tensor) -> bool:
    return found.shape != plain.shape or not relative_error(found, plain) <= EXACT


def test_nodes_for_other_models_are_refused(studio: Studio, stock: dict[str, Any]) -> None:
    for name in (n for n, kind in documented().items() if kind == "refused" and n in stock):
        assert isinstance(outcome(studio, name, stock[name]), str), name


@pytest.mark.parametrize(
    ("node_id", "words"),
    [
        (
            "RenormCFG",
            "RenormCFG takes single images and cannot guide 2 frames; set its renorm_cfg",
        ),
        ("TemporalScoreRescaling", "cannot guide 2 frames; set its tsr_k to 1"),
        ("HiDreamO1PatchSeamSmoothing", "no `multiplier`: this is a DynamiCrafter model"),
        ("ModelNoiseScale", "no `set_parameters`: this is a DynamiCrafter model"),
        ("RTDETR_detect", "This is a DynamiCrafter model, and the node that runs it on an image"),
        ("FluxKVCache", "for post_input, which a U-Net does not have: it is made for another kind"),
        ("SAM3_VideoTrack", "no `forward_video`: this is a DynamiCrafter model"),
    ],
)
def test_a_node_that_cannot_work_is_refused_in_words(
    studio: Studio, stock: dict[str, Any], node_id: str, words: str
) -> None:
    if node_id not in stock:
        pytest.skip(f"this ComfyUI has no {node_id}")
    assert words in outcome(studio, node_id, stock[node_id])


def test_renorm_cfg_without_its_norm_acts(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph, size=32, frames=2)
    plain = scene.stock(steps=1, denoise=0.5)
    model = scene.model
    scene.model = graph.add("RenormCFG", model=model, cfg_trunc=100.0, renorm_cfg=0.0)[0]
    found = studio.run(graph, plain=plain, renorm=scene.stock(steps=1, denoise=0.5))
    assert not differs(found["renorm"]["value.samples"], found["plain"]["value.samples"])


def test_temporal_factors_find_no_layers(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph, size=32, frames=2)
    outputs, model = {"plain": scene.stock(steps=1, denoise=0.5)}, scene.model
    names = [f"{kind}_{part}" for kind in ("self", "cross") for part in ("structural", "temporal")]
    for part in ("structural", "temporal"):
        factors = {name: 0.2 if name.endswith(part) else 1.0 for name in names}
        scene.model = graph.add("UNetTemporalAttentionMultiply", model=model, **factors)[0]
        outputs[part] = scene.stock(steps=1, denoise=0.5)
    found = {k: v["value.samples"] for k, v in studio.run(graph, **outputs).items()}
    assert differs(found["structural"], found["plain"])
    assert not differs(found["temporal"], found["plain"])
