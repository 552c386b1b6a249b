"""Across the nodes: generated graphs, in which any input of any node may get anything.

Each ends in a run with finite results or in one sentence with a remedy. The server answers within
30 seconds, stays alive, takes less than 2 GB, starts no process and writes to its own folders only.
"""

import json
import random
import tempfile
from typing import Any

import hostile_files
import pytest
import small_checkpoint
import torch
from comfyui.client import PromptError
from graphs import Graph
from hostile_values import is_wrong_image, is_wrong_latent, is_wrong_mask, value
from memory import peak_memory, process_of, reset_peak_memory
from remedies import REMEDY
from scene import FRAMES, SIZE, Scene
from studio import PATIENCE, Studio, picture
from torch import Tensor, nn

pytestmark = pytest.mark.server

SEEDS = range(8)
GRAPHS_PER_SEED = 60
ANSWER_WITHIN = 30.0
MEMORY_LIMIT = 2 * 2**30
OWN_ERRORS = ("InputError", "CheckpointError")
# Inputs that name a file, and the folder that it is in.
FOLDERS = {
    "ckpt_name": "checkpoints",
    "control_net_name": "controlnet",
    "extractor_name": "feature_extractors",
    "init_file": "checkpoints",
}
# Seeds of files out of the grammar that the readers are tested with.
HOSTILE_FILES = range(12)
SKETCH, EXTRACTOR = "grammar-sketch.safetensors", "grammar-means.pt"
VIDEO = {"width": SIZE, "height": SIZE, "length": FRAMES, "batch_size": 1, "fps": 0}
GRID = {"steps": 1, "spacing": "auto", "denoise": 1.0, "ending": "clean", "start_timestep": 1000}
WRONG = {"IMAGE": is_wrong_image, "LATENT": is_wrong_latent, "MASK": is_wrong_mask}
SCALES = {"cfg": 7.5, "image_cfg": 7.5, "guidance_rescale": -1.0}


class Means(nn.Module):
    """`[N, 3, T, H, W]` to the channels' means `[N, 3]`."""

    def forward(self, videos: Tensor) -> Tensor:
        return videos.mean(dim=[2, 3, 4])


@pytest.fixture(scope="module")
def files(studio: Studio) -> dict[str, list[str]]:
    """Names of hostile files by the input that asks for one; good ones lie beside them."""
    found: dict[str, list[str]] = {}
    models = studio.server.base / "models"
    for name, folder in FOLDERS.items():
        (models / folder).mkdir(parents=True, exist_ok=True)
        for seed in HOSTILE_FILES:
            suffix, data = hostile_files.Grammar(seed).file()
            path = models / folder / f"grammar-{seed}{suffix}"
            path.write_bytes(data)
            found.setdefault(name, []).append(path.name)
    small_checkpoint.write_sketch_controlnet(models / "controlnet" / SKETCH)
    torch.jit.script(Means()).save(str(models / "feature_extractors" / EXTRACTOR))  # type: ignore[union-attr]
    return found


def good_inputs(scene: Scene) -> dict[str, dict[str, Any]]:
    """Inputs with which each node runs."""
    pair = {"positive": scene.positive, "negative": scene.negative}
    guided = {**pair, "image_only": scene.image_only}
    tokens = [scene.encoded[i] for i in range(2)]
    decoded = scene.picture
    add = scene.graph.add
    video = scene.studio.image(scene.graph, picture(SIZE, SIZE).expand(2 * FRAMES, -1, -1, -1))
    keyframe = add("DynamiCrafterKeyframe", image=scene.picture, frame=1)[0]
    shot = add("DynamiCrafterShot", prompt="waves", length=FRAMES, fps=0, image=scene.picture)[0]
    noise = add("RandomNoise", noise_seed=1)[0]
    square = torch.zeros(1, SIZE, SIZE, 3)
    square[:, 20:40, 20:40] = 1
    white = scene.studio.image(scene.graph, square)
    mask = add("ImageToMask", image=white, channel="red")[0]
    rough = {"width": SIZE, "height": SIZE, "length": FRAMES}
    file = scene.studio.small_checkpoint("videocrafter2")
    loading = {"variant": "auto", "weight_dtype": "default"}
    prior = add("DynamiCrafterCheckpointLoader", ckpt_name=file, **loading)[0]
    return {
        "DynamiCrafterCheckpointLoader": {
            "ckpt_name": scene.studio.small_checkpoint(),
            "variant": "auto",
            "weight_dtype": "default",
        },
        "DynamiCrafterStoryboard": {
            **{part: getattr(scene, part) for part in ("model", "clip", "vae", "clip_vision")},
            **{"projector": scene.projector, "shots": shot, "mode": "animate", "negative": ""},
            **{"width": SIZE, "height": SIZE, "fit": "crop", "overlap": 1},
            **{"seed": 1, "steps": 1, "cfg": 7.5, "eta": 0.0},
        },
        "DynamiCrafterSketchControl": {
            **guided,
            "control_net_name": SKETCH,
            "sketches": scene.picture,
            "frames": "0",
            "strength": 0.6,
            "start_percent": 0.0,
            "end_percent": 1.0,
        },
        "DynamiCrafterVideoDistance": {
            "real_images": video,
            "generated_images": video,
            "extractor_name": EXTRACTOR,
            "preprocessing": "none",
            "num_frames": FRAMES,
            "real_stride": 1,
        },
        "DynamiCrafterContextEncode": {
            "clip_vision": scene.clip_vision,
            "image": scene.picture,
            "fit": "stretch",
        },
        "DynamiCrafterContextProjection": {
            **pair,
            "projector": scene.projector,
            "clip_vision_output": tokens[0],
            "null_clip_vision_output": tokens[1],
            "frame_tokens": "auto",
        },
        "DynamiCrafterVisualDetailGuidance": {
            **guided,
            **VIDEO,
            "vae": scene.vae,
            "image": scene.picture,
            "mode": "keyframes",
            "fit": "crop",
            "end_image": scene.picture,
            "keyframes": keyframe,
        },
        "DynamiCrafterKeyframe": {"image": scene.picture, "frame": 1, "keyframes": keyframe},
        "DynamiCrafterEmptyVideo": {**pair, **VIDEO},
        "DynamiCrafterSampler": {
            **guided,
            **GRID,
            **SCALES,
            "model": scene.model,
            "latent": scene.latent,
            "seed": 1,
            "eta": 0.0,
            "noise": noise,
        },
        "DynamiCrafterScheduler": {"model": scene.model, **GRID},
        "DynamiCrafterDDIM": {"eta": 0.0},
        "DynamiCrafterGuider": {"model": scene.model, **guided, **SCALES},
        "DynamiCrafterLambda": {
            "model": scene.model,
            "outer_layers": 1.0,
            "middle_layers": 1.0,
            "per_layer": "",
        },
        "DynamiCrafterLambdaPlot": {"model": scene.model},
        "DynamiCrafterVideoDecode": {
            "vae": scene.vae,
            "samples": scene.latent,
            "chunk_frames": 0,
            "tile_size": 0,
            "drop_last_frame": False,
        },
        "DynamiCrafterPinFirstFrame": {"model": scene.model, "frames": "first"},
        "DynamiCrafterPromptSchedule": {
            "clip": scene.clip,
            "prompts": "0: a\n2: b",
            "length": FRAMES,
            "blend_frames": 1,
        },
        "DynamiCrafterAnalyticInit": {
            "model": scene.model,
            "init_file": "built-in",
            "seed": 1,
            "start_timestep": 940,
            "statistics_from": None,
        },
        "DynamiCrafterExtend": {
            **guided,
            "vae": scene.vae,
            "images": decoded,
            "length": FRAMES,
            "overlap": 1,
            "fps": 0,
            "samples": None,
        },
        "DynamiCrafterShot": {
            "prompt": "waves",
            "length": FRAMES,
            "fps": 0,
            "image": scene.picture,
            "shots": shot,
        },
        "DynamiCrafterColorMatch": {
            "images": scene.picture,
            "reference": scene.picture,
            "method": "mean_std",
            "source": "each_frame",
            "strength": 1.0,
        },
        "DynamiCrafterDragMotion": {
            **{"image": scene.picture, "mask": mask, "path": "40, 40", "path_masks": mask},
            **rough,
        },
        "DynamiCrafterCameraMotion": {
            **{
                "image": scene.picture,
                "move": "path",
                "amount": 0.2,
                "path": "0.1, 0, 1.2, 5, 0.1",
            },
            **{"depth": scene.picture, **rough},
        },
        "DynamiCrafterReferenceMotion": {
            **{"model": scene.model, "vae": scene.vae, "reference": scene.picture},
            **{"weak_timestep": 800, "strong_timestep": 400, "strength": 1.0},
            **{"mask": mask, "may_move": mask, "soft_border": 4},
        },
        "DynamiCrafterMotionAmount": {"model": scene.model, "motion": 0.5, "means": "all"},
        "DynamiCrafterPriorGuider": {
            **{"model": scene.model, "prior": prior, **pair},
            **{"cfg": 7.5, "guidance_rescale": -1.0, "prior_strength": 1.0},
        },
        "DynamiCrafterFrameStrip": {
            **{"images": video, "num_frames": FRAMES, "columns": 4, "height": 32, "labels": "a"},
        },
        "DynamiCrafterPIC": {
            "images": scene.picture,
            "image": scene.picture,
            "distance": "pixels",
            "num_frames": 1,
            "fit": "crop",
            "clip_vision": None,
        },
    }


def hostile_graph(
    studio: Studio, draw: random.Random, wires: dict[str, Any], files: dict[str, list[str]]
) -> tuple[Graph, str]:
    """A graph around one node, one or two of whose inputs get any value, and what is known of it.

    "wrong": it must be refused.
    """
    graph = Graph()
    nodes = good_inputs(Scene(studio, graph))
    node = draw.choice(list(nodes))
    inputs = dict(nodes[node])
    known = ""
    for name in draw.sample(list(inputs), k=min(len(inputs), draw.choice((1, 1, 2)))):
        is_file = name in files and draw.random() < 0.7
        given = draw.choice(files[name]) if is_file else value(draw, wires[node][name])
        wrong = WRONG.get(wires[node][name])
        # An optional input may be unconnected.
        if wrong is not None and given is not None and wrong(given):
            known = "wrong"
        inputs[name] = graph.add("TestHostile", value=json.dumps(given))[0]
    made = graph.add(node, **inputs)
    graph.add("TestSave", value=made[0], name="hostile")
    return graph, known


@pytest.fixture(scope="module")
def wires(studio: Studio) -> dict[str, dict[str, str]]:
    """Each node's inputs and the type of their wires."""
    found = {}
    for node, info in studio.server.object_info().items():
        parts = [part for part in info["input"].values() if isinstance(part, dict)]
        entries = [entry for part in parts for entry in part.items()]
        found[node] = {n: e[0] if isinstance(e[0], str) else "COMBO" for n, e in entries}
    return found


def complaint(error: PromptError) -> str:
    """What is wrong with a refusal; empty when nothing is."""
    message = error.node_message
    if error.errors:
        return ""  # The host's own, before the run.
    if not error.exception_type.endswith(OWN_ERRORS):
        return f"raw {error.exception_type}"
    if "\n" in message or len(message) > 700 or not message.isprintable():
        return "not one short line"
    return "" if message.endswith(".") and REMEDY.search(message) else "no sentence with a remedy"


@pytest.mark.usefixtures("files")
def test_every_nodes_good_inputs_run(studio: Studio) -> None:
    """Otherwise what is wrong with them would be all that the graphs below try."""
    graph, nodes = Graph(), good_inputs(Scene(studio, Graph()))
    ours = {name for name in studio.server.object_info() if name.startswith("DynamiCrafter")}
    assert set(nodes) == ours, "a node is missing here"
    for node, inputs in good_inputs(Scene(studio, graph)).items():
        made = graph.add(node, **inputs)
        graph.add("TestSave", value=made[0], name=f"good-{node}")
    studio.server.prompt(graph.prompt, timeout=PATIENCE)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_graph_ends_in_a_run_or_a_sentence(
    studio: Studio, wires: dict[str, dict[str, str]], files: dict[str, list[str]], seed: int
) -> None:
    draw = random.Random(seed)
    process = process_of(studio.server)
    studio.server.get("/test/audit")
    reset_peak_memory(process)
    before, faults = peak_memory(process), []
    for number in range(GRAPHS_PER_SEED):
        graph, known = hostile_graph(studio, draw, wires, files)
        try:
            studio.server.prompt(graph.prompt, timeout=ANSWER_WITHIN)
            fault = "ran" if known == "wrong" else ""
        except PromptError as error:
            fault = complaint(error)
            fault = fault and f"{fault}: {error!s:.300}"
        if fault:
            hostile = (n for n in graph.prompt.values() if n["class_type"] == "TestHostile")
            given = [n["inputs"]["value"][:300] for n in hostile]
            faults.append(f"{seed}/{number}: {fault} {given}")
    assert not faults, "\n".join(faults)
    assert peak_memory(process) - before < MEMORY_LIMIT
    # The image encoder's settings reach older hosts in a file.
    own = (str(studio.server.base), tempfile.gettempdir())
    assert [e for e in studio.server.get("/test/audit") if not any(f in e for f in own)] == []
