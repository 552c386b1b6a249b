"""Across stock nodes for our MODEL, CONDITIONING, LATENT or SIGMAS: each with its defaults.

What each does stands in `docs/stock_nodes.md`, in the table that this reads.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui.client import PromptError
from control_files import write_control_net
from defaults import FILES, Wires, takes_our_wires
from graphs import Graph, Link, Node
from least_checkpoint import least_checkpoint
from safetensors.torch import save_file
from scene import Scene
from studio import Studio, relative_error
from torch import Tensor

pytestmark = [pytest.mark.server, pytest.mark.slow]

DOCS = Path(__file__).resolve().parents[2] / "docs" / "stock_nodes.md"
EXACT, SAMPLES = 1e-5, "value.samples"
ROWS = {
    "changes the video": "acts",
    "changes nothing": "nothing",
    "works on the latents": "latents",
    "gives something else": "reads",
    "is refused": "refused",
    "has a test of its own": "alone",
}


def documented() -> dict[str, str]:
    """What the docs' last table says of each node."""
    found = {}
    for outcome, kind in ROWS.items():
        (row,) = re.findall(rf"^\| {outcome}[^|]* \| (.+) \|$", DOCS.read_text(), re.M)
        found |= {name.strip(): kind for name in row.split(", ")}
    return found


def put_files(models: Path) -> None:
    """A small file for every node that loads one; `FILES` names them."""
    write_control_net(models / "controlnet" / FILES["control_net_name"])
    for folder in ("loras", "hypernetworks"):
        (models / folder).mkdir(parents=True, exist_ok=True)
    save_file(lora_of(64), models / "loras" / FILES["lora_name"])
    layer = {"linear.0.weight": torch.eye(64), "linear.0.bias": torch.ones(64)}
    torch.save({64: [layer, layer]}, models / "hypernetworks" / FILES["hypernetwork_name"])


def lora_of(width: int) -> dict[str, Tensor]:
    name = "diffusion_model.input_blocks.1.1.proj_in"
    return {
        f"{name}.lora_A.weight": torch.ones(1, width) / width,
        f"{name}.lora_B.weight": torch.ones(width, 1),
    }


@pytest.fixture(scope="module")
def stock(studio: Studio) -> dict[str, Any]:
    """The host's nodes that take what we give, by id."""
    put_files(studio.server.base / "models")
    return {
        node_id: info
        for node_id, info in studio.server.object_info().items()
        if takes_our_wires(info) and not node_id.startswith(("DynamiCrafter", "Test"))
    }


def with_node(scene: Scene, node: Node, info: dict[str, Any]) -> Link:
    """What becomes of a stage of one step with the node in its place; else its first output."""
    outputs = {kind: slot for slot, kind in reversed(list(enumerate(map(str, info["output"]))))}
    model, positive, negative = scene.model, scene.positive, scene.negative
    try:
        if "MODEL" in outputs:
            scene.model = node[outputs["MODEL"]]
        if "CONDITIONING" in outputs:
            scene.positive = node[outputs["CONDITIONING"]]
        given = {
            "NOISE": scene.unit_noise,
            "GUIDER": scene.cfg_guider,
            "SAMPLER": scene.sampler,
            "SIGMAS": lambda: scene.sigmas(1, denoise=0.5),
        }
        stage = [node[outputs[k]] if k in outputs else make() for k, make in given.items()]
        changed = {"MODEL", "CONDITIONING", *given} & set(outputs)
        return scene.sample_custom(*stage) if changed else node[0]
    finally:
        scene.model, scene.positive, scene.negative = model, positive, negative


def wires(studio: Studio, graph: Graph, *, merging: bool = False) -> Wires:
    """A small scene with another model beside it; the least ones where every weight is merged."""
    make = least_checkpoint if merging else partial(Studio.small_checkpoint, wide=True)
    scene, other = (
        Scene(studio, graph, checkpoint=make(studio, seed=seed), size=32, frames=2)
        for seed in (0, 1)
    )
    return Wires(scene, other)


def outcome(studio: Studio, node_id: str, info: dict[str, Any]) -> Any:
    """Of one node: the error's message, or the latents."""
    given = wires(studio, Graph())
    node = given.scene.graph.add(node_id, **given.defaults(info))
    try:
        return studio.run(given.scene.graph, out=with_node(given.scene, node, info))["out"]
    except PromptError as error:
        return str(error)


def test_every_node_has_its_place_in_the_docs(stock: dict[str, Any]) -> None:
    assert set(stock) - set(documented()) == set()


def test_nodes_that_run_do_what_the_docs_say(studio: Studio, stock: dict[str, Any]) -> None:
    graph = Graph()
    given = {merging: wires(studio, graph, merging=merging) for merging in (False, True)}
    outputs = {str(key): each.scene.stock(steps=1, denoise=0.5) for key, each in given.items()}
    kinds = {name: kind for name, kind in documented().items() if name in stock}
    for name in (n for n, kind in kinds.items() if kind not in ("refused", "alone")):
        made = given[merges(stock[name])]
        node = graph.add(name, **made.defaults(stock[name]))
        if stock[name]["output"]:  # a node that writes a file runs by itself
            outputs[name] = with_node(made.scene, node, stock[name])
    results = {k: v.get(SAMPLES) for k, v in studio.run(graph, **outputs).items()}
    plain = {merging: results.pop(str(merging)) for merging in given}
    assert None not in plain.values()
    wrong = {name: done(found, plain[merges(stock[name])]) for name, found in results.items()}
    wrong = {
        name: found
        for name, found in wrong.items()
        if found != kinds[name] and (kinds[name] != "latents" or found == "reads")
    }
    assert wrong == {}


def merges(info: dict[str, Any]) -> bool:
    return "model2" in info["input"].get("required", {})


def done(found: Tensor | None, plain: Tensor | None) -> str:
    """What a node did to a video."""
    if found is None or plain is None:
        return "reads"
    return "acts" if differs(found, plain) else "nothing"


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
    assert not differs(found["renorm"][SAMPLES], found["plain"][SAMPLES])


def test_temporal_factors_find_no_layers(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph, size=32, frames=2)
    outputs, model = {"plain": scene.stock(steps=1, denoise=0.5)}, scene.model
    names = [f"{kind}_{part}" for kind in ("self", "cross") for part in ("structural", "temporal")]
    for part in ("structural", "temporal"):
        factors = {name: 0.2 if name.endswith(part) else 1.0 for name in names}
        scene.model = graph.add("UNetTemporalAttentionMultiply", model=model, **factors)[0]
        outputs[part] = scene.stock(steps=1, denoise=0.5)
    found = {k: v[SAMPLES] for k, v in studio.run(graph, **outputs).items()}
    assert differs(found["structural"], found["plain"])
    assert not differs(found["temporal"], found["plain"])
