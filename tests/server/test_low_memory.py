"""Across the host's adapters: partial loading on a pretended card leaves the numbers alone.

Weights lie on the card, stream to it layer by layer, are patched on the way and go back, as the
host decides by the memory that is free. The card refuses operations that mix it with the CPU, so
that a weight which nobody brings along fails (`support_pack/small_card.py`).
"""

import json
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import small_checkpoint
import torch
from family import bare, wire
from graphs import Graph, Link
from safetensors.torch import save_file
from scene import SIZE, Scene, small_scene, unit_noise
from studio import Animation, Studio, picture, relative_error
from torch import Tensor

from dc_model.unet.unet import DynamiCrafterUNet

pytestmark = pytest.mark.server

# KB of weights on the card: none, a third, all, and back again.
NONE, SOME, ALL = "0.001", "8000", "100000"
# One step, one condition: enough for every layer to run. Not from the highest noise level, where
# the last digit of the network's output grows by four digits.
STEP = {
    "seed": 1,
    "steps": 1,
    "cfg": 1.0,
    "sampler_name": "euler",
    "scheduler": "simple",
    "denoise": 0.5,
}
SAMPLES = "value.samples"
# Mostly the very numbers; a matrix product may round otherwise when its weights are copied to an
# address of another alignment.
EXACT = 1e-5
UNET = small_checkpoint.UNET
GATE = ".attn2.alpha"


@dataclass
class OnCard:
    """A node's first output for each size of the card, and bytes of weights and of everything.

    resident: weights on the card after each run. peak: all that lay on it at once during the run.
    left: on the card after the models were unloaded. total: weights.
    """

    results: list[dict[str, Tensor]]
    resident: list[int]
    peak: list[int]
    left: int
    total: int


def add_on_card(
    graph: Graph, node: str, sizes: tuple[str, ...], links: dict[str, Link], **settings: Any
) -> dict[str, Link]:
    """Runs `node` once for each size; what `Studio.run` takes and `on_card` reads."""
    names, numbered = list(links), {f"link{i}": link for i, link in enumerate(links.values())}
    card = graph.add(
        "TestOnCard",
        node=node,
        weights=",".join(sizes),
        names=",".join(names),
        settings=json.dumps(settings),
        **numbered,
    )
    return {"card": card[0], "report": card[1]}


def on_card(found: dict[str, dict[str, Tensor]]) -> OnCard:
    """What the two links of `add_on_card` gave."""
    report = {key: int(value) for key, value in found["report"].items()}
    runs = sum(key.endswith(".peak") for key in report)
    results: list[dict[str, Tensor]] = [{} for _ in range(runs)]
    for key, tensor in found["card"].items():
        _, run, rest = [*key.split(".", 2), ""][:3]
        results[int(run)][f"value.{rest}".rstrip(".")] = tensor
    return OnCard(
        results,
        [report[f"value.{i}.resident"] for i in range(runs)],
        [report[f"value.{i}.peak"] for i in range(runs)],
        report[f"value.{runs}.left"],
        report[f"value.{runs}.total"],
    )


def sampling_links(made: Animation, model: Link | None = None) -> dict[str, Link]:
    return {
        "model": model or made.model,
        "positive": made.positive,
        "negative": made.negative,
        "latent_image": made.latent,
    }


def assert_equal(run: OnCard, expected: dict[str, Tensor]) -> None:
    """Every size of the card gave the CPU's numbers, and nothing stayed on it."""
    for result in run.results:
        assert result.keys() == expected.keys()
        for key, tensor in expected.items():
            assert relative_error(result[key].float(), tensor.float()) < EXACT, key
    assert run.left == 0


def set_gates(value: float) -> small_checkpoint.Edit:
    """Learned gates other than the ones that a network starts with."""

    def edit(tensors: dict[str, Tensor]) -> None:
        for key in tensors:
            if key.endswith(GATE):
                tensors[key] = torch.full_like(tensors[key], value)

    return edit


@pytest.mark.parametrize("variant", ["256", "videocrafter1_512"])
def test_latents_do_not_depend_on_the_weights_that_fit(
    studio: Studio, root: Path, variant: str
) -> None:
    """One variant has learned gates, the other tables of relative positions."""
    graph = Graph()
    wide = studio.small_checkpoint(variant, wide=True)
    scene = small_scene(studio, graph, variant, checkpoint=wide)
    plain = graph.add("KSampler", **sampling_links(scene), **STEP)[0]
    sizes = (NONE, SOME, ALL, SOME)
    card = add_on_card(graph, "KSampler", sizes, sampling_links(scene), **STEP)
    found = studio.run(graph, plain=plain, **card)
    run = on_card(found)
    assert_equal(run, found["plain"])
    none, some, everything, again = run.resident
    assert none == 0
    counting = runpy.run_path(str(root / "benchmarks" / "count_memory.py"))
    network = DynamiCrafterUNet(small_checkpoint.small_arch(variant, wide=True), device="meta")
    counted, _ = counting["resident_mib"](network, 4, int(SOME) / 1024, streams=0)
    assert some == pytest.approx(counted * 2**20, rel=0.02)
    assert 0.3 * 1024 * int(SOME) < again < 1024 * int(SOME)
    assert everything == pytest.approx(run.total, rel=1e-3)
    # What streams takes the card's memory for one layer at a time.
    activations = run.peak[2] - run.total
    assert run.peak[0] < activations + 0.5 * run.total


@pytest.mark.parametrize("variant", ["256", "videocrafter1_512"])
def test_patches_reach_every_weight_wherever_it_lies(studio: Studio, variant: str) -> None:
    """Two models merged to nothing but the second: gates and tables of positions, too."""
    first = studio.small_checkpoint(variant, name="-moved-gates", edit=set_gates(0.8))
    second = studio.small_checkpoint(variant, seed=1, name="-moved-gates", edit=set_gates(-0.7))
    graph = Graph()
    scene = small_scene(studio, graph, variant)
    one, other = (Animation(studio, graph, name).model for name in (first, second))
    merged = graph.add("ModelMergeSimple", model1=one, model2=other, ratio=0.0)[0]
    links = {"one": one, "other": other, "merged": merged}
    plain = {
        key: graph.add("KSampler", **sampling_links(scene, model), **STEP)[0]
        for key, model in links.items()
    }
    sizes = (NONE, ALL, SOME)
    card = add_on_card(graph, "KSampler", sizes, sampling_links(scene, merged), **STEP)
    found = studio.run(graph, **plain, **card)
    expected = found["other"][SAMPLES]
    assert relative_error(found["one"][SAMPLES], expected) > 0.1
    run = on_card(found)
    for latents in (found["merged"][SAMPLES], *(result[SAMPLES] for result in run.results)):
        assert relative_error(latents, expected) < 1e-5
    assert run.left == 0


def test_a_lora_acts_on_weights_that_stream(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    generator = torch.Generator().manual_seed(3)
    lora = {}
    for layer in ("input_blocks.1.1.proj_in", "middle_block.1.transformer_blocks.0.attn2.to_v_ip"):
        arch = small_checkpoint.shapes(small_checkpoint.SMALL, {}, "512")
        outputs, inputs = arch[f"{UNET}{layer}.weight"]
        key = f"diffusion_model.{layer}"
        lora[f"{key}.lora_A.weight"] = torch.randn(4, inputs, generator=generator)
        lora[f"{key}.lora_B.weight"] = torch.randn(outputs, 4, generator=generator)
    folder = studio.server.base / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(lora, folder / "streamed.safetensors")
    model = graph.add(
        "LoraLoaderModelOnly",
        model=scene.model,
        lora_name="streamed.safetensors",
        strength_model=0.5,
    )[0]
    without = graph.add("KSampler", **sampling_links(scene), **STEP)[0]
    plain = graph.add("KSampler", **sampling_links(scene, model), **STEP)[0]
    sizes = (NONE, ALL, SOME)
    card = add_on_card(graph, "KSampler", sizes, sampling_links(scene, model), **STEP)
    found = studio.run(graph, without=without, plain=plain, **card)
    assert relative_error(found["without"][SAMPLES], found["plain"][SAMPLES]) > 0.1
    assert_equal(on_card(found), found["plain"])


# Each with a variant that has learned gates, or one that has tables of relative positions.
STORED = [
    ("256", "fp16", torch.float16),
    ("videocrafter1_512", "bf16", torch.bfloat16),
    ("256", "fp8_e4m3fn", torch.float8_e4m3fn),
    ("videocrafter1_512", "fp8_e5m2", torch.float8_e5m2),
]


def rounded(dtype: torch.dtype) -> small_checkpoint.Edit:
    """The U-Net as it is after loading in `dtype`: norms and biases stay out of 8 bits."""

    def edit(tensors: dict[str, Tensor]) -> None:
        set_gates(0.8)(tensors)
        for key, tensor in tensors.items():
            if key.startswith(UNET) and (dtype.itemsize > 1 or tensor.ndim > 1):
                tensors[key] = tensor.to(dtype).float()

    return edit


@pytest.mark.parametrize(("variant", "weight_dtype", "dtype"), STORED)
def test_every_weight_type_computes_alike_wherever_the_weights_lie(
    studio: Studio, variant: str, weight_dtype: str, dtype: torch.dtype
) -> None:
    """On a device that cannot compute in the weights' type: as weights that were rounded once."""
    exact = studio.small_checkpoint(variant, name="-moved-gates", edit=set_gates(0.8))
    once = studio.small_checkpoint(variant, name=f"-{weight_dtype}", edit=rounded(dtype))
    graph = Graph()
    scene = small_scene(studio, graph, variant)
    stored = Animation(studio, graph, exact, weight_dtype=weight_dtype).model
    reference = Animation(studio, graph, once, weight_dtype="fp32").model
    expected = graph.add("KSampler", **sampling_links(scene, reference), **STEP)[0]
    sizes = (NONE, ALL)
    card = add_on_card(graph, "KSampler", sizes, sampling_links(scene, stored), **STEP)
    found = studio.run(graph, expected=expected, **card)
    run = on_card(found)
    assert_equal(run, found["expected"])
    parameters = small_checkpoint.shapes(small_checkpoint.small_arch(variant), {}, variant)
    values = sum(torch.Size(shape).numel() for shape in parameters.values())
    assert values * dtype.itemsize <= run.total < values * (dtype.itemsize + 0.1)


def assert_streams(
    studio: Studio, graph: Graph, node: str, some: str, links: dict[str, Link], **settings: Any
) -> None:
    """A node gives the same with none, some and all of its weights on the card."""
    plain = graph.add(node, **links, **settings)[0]
    card = add_on_card(graph, node, (NONE, some, ALL), links, **settings)
    found = studio.run(graph, plain=plain, **card)
    run = on_card(found)
    assert_equal(run, found["plain"])
    none, part, everything = run.resident
    assert none < part < everything == run.total


def test_the_query_transformer_streams(studio: Studio, graph: Graph) -> None:
    made = Animation(studio, graph, studio.small_checkpoint()).text("a red ball", "blurry")
    image = studio.image(graph, picture(SIZE, SIZE))
    encoded = graph.add(
        "DynamiCrafterContextEncode", clip_vision=made.clip_vision, image=image, fit="stretch"
    )
    links = {
        "positive": made.positive,
        "negative": made.negative,
        "projector": made.projector,
        "clip_vision_output": encoded[0],
        "null_clip_vision_output": encoded[1],
    }
    node = "DynamiCrafterContextProjection"
    assert_streams(studio, graph, node, "800", links, frame_tokens="auto")


@pytest.mark.parametrize("references", [False, True])
def test_the_toon_vae_streams(studio: Studio, graph: Graph, references: bool) -> None:
    made = Animation(studio, graph, bare(studio, "toon_512"))
    links = {"vae": made.vae, "samples": studio.latent(graph, unit_noise(0), 4)}
    if references:
        links["first_image"] = studio.image(graph, picture(SIZE, SIZE))
        links["last_image"] = studio.image(graph, picture(SIZE, SIZE, 1.0))
    settings = {"chunk_frames": 0, "tile_size": 0, "drop_last_frame": False}
    assert_streams(studio, graph, "DynamiCrafterVideoDecode", "1000", links, **settings)


def test_the_sketch_control_net_streams_beside_the_model(studio: Studio, graph: Graph) -> None:
    folder = studio.server.base / "models" / "controlnet"
    file = small_checkpoint.write_sketch_controlnet(folder / "streamed_sketch.safetensors").name
    made = wire(studio, graph, "toon_512")
    guided = graph.add(
        "DynamiCrafterSketchControl",
        positive=made.positive,
        negative=made.negative,
        control_net_name=file,
        sketches=studio.image(graph, picture(SIZE, SIZE)),
        frames="1",
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )
    free = graph.add("KSampler", **sampling_links(made), **STEP)[0]
    made.positive, made.negative = guided[0], guided[1]
    plain = graph.add("KSampler", **sampling_links(made), **STEP)[0]
    sizes = (NONE, SOME, ALL)
    card = add_on_card(graph, "KSampler", sizes, sampling_links(made), **STEP)
    found = studio.run(graph, free=free, plain=plain, **card)
    assert relative_error(found["free"][SAMPLES], found["plain"][SAMPLES]) > 0.01
    run = on_card(found)
    assert_equal(run, found["plain"])
    none, some, everything = run.resident
    assert none < some < everything == pytest.approx(run.total, rel=1e-3)


def test_fast_8_bit_layers_compute_what_they_should(studio: Studio, graph: Graph) -> None:
    """The host's code for cards with 8-bit arithmetic, run on the CPU by its own fallback.

    It rounds inputs in place; no layer of ours may need its input afterwards.
    """
    scene = Scene(studio, graph)
    rounded_weights = Animation(
        studio, graph, studio.small_checkpoint(), weight_dtype="fp8_e4m3fn"
    ).model
    settings = {"ckpt_name": studio.small_checkpoint()}
    host, own = (graph.add("TestFastFP8", **settings, own=own) for own in (False, True))
    models = {"host": host[0], "own": own[0], "slow": rounded_weights}
    latents = {
        name: graph.add("KSampler", **sampling_links(scene, model), **STEP)[0]
        for name, model in models.items()
    }
    seen = graph.add("TestCallsSeen", seen=own[1], after=latents["own"])[0]
    found = studio.run(graph, **latents, seen=seen)
    expected = found["own"][SAMPLES]
    assert relative_error(found["host"][SAMPLES], expected) < 1e-5
    assert 1e-3 < relative_error(found["slow"][SAMPLES], expected) < 0.2
    network = DynamiCrafterUNet(small_checkpoint.SMALL, device="meta")
    layers = sum(isinstance(module, torch.nn.Linear) for module in network.modules())
    assert int(found["seen"]["value.calls"]) == layers
    assert int(found["seen"]["value.unfit"]) == 0
