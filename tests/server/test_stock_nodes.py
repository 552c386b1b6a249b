"""Across stock nodes that patch our MODEL: one row for each; all assert on latents.

Where a node has a neutral setting, it must leave the model as it is; its usual setting must change
the result by as much as measured when the row was written.
"""

import copy
import os
import re
import shutil
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from graphs import Graph, Link
from least_checkpoint import least_checkpoint
from safetensors.torch import save_file
from scene import FRAMES, Scene, WideScene
from studio import Studio, relative_error
from torch import Tensor

from dc_model.sampling.schedule import NoiseSchedule

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
EXACT = 1e-5
# Half-way down the noise levels. At the top, 6455, the host's own guidance functions lose four
# digits to `x - (x - guided)`.
HALF: dict[str, Any] = {"denoise": 0.5}


@dataclass(frozen=True)
class Row:
    """A stock node, its neutral and its usual inputs, and the relative change that those make.

    linear: the input that the change is proportional to, for guidances added to the result.
    """

    node: str
    effect: float
    active: dict[str, Any]
    neutral: dict[str, Any] = field(default_factory=dict)
    linear: str = ""
    steps: int = 2
    spread: float = 0.1


TABLE = [
    Row(
        "FreeU",
        0.247,
        {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
        {"b1": 1.0, "b2": 1.0, "s1": 1.0, "s2": 1.0},
    ),
    Row(
        "FreeU_V2",
        0.214,
        {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
        {"b1": 1.0, "b2": 1.0, "s1": 1.0, "s2": 1.0},
    ),
    Row("PerturbedAttentionGuidance", 0.244, {"scale": 3.0}, {"scale": 0.0}, "scale", 1),
    Row(
        "SelfAttentionGuidance",
        0.205,
        {"scale": 0.5, "blur_sigma": 2.0},
        {"scale": 0.0, "blur_sigma": 2.0},
        "scale",
        1,
    ),
    Row(
        "HyperTile",
        0.148,
        {"tile_size": 32, "swap_size": 1, "max_depth": 1, "scale_depth": False},
        {"tile_size": 2048, "swap_size": 2, "max_depth": 0, "scale_depth": False},
    ),
    # It picks tokens at random.
    Row("TomePatchModel", 0.049, {"ratio": 0.5}, {"ratio": 0.0}, spread=0.5),
    Row("RescaleCFG", 0.0505, {"multiplier": 0.7}, {"multiplier": 0.0}),
    Row("VideoLinearCFGGuidance", 0.12, {"min_cfg": 1.0}, {"min_cfg": 3.0}),
    Row("VideoTriangleCFGGuidance", 0.156, {"min_cfg": 1.0}, {"min_cfg": 3.0}),
    Row(
        "NAGuidance",
        0.178,
        {"nag_scale": 5.0, "nag_alpha": 0.5, "nag_tau": 1.5},
        {"nag_scale": 5.0, "nag_alpha": 0.0, "nag_tau": 1.5},
    ),
    Row(
        "SkipLayerGuidanceDiT",
        0.0,  # a U-Net has no such layers: the two predictions that it compares are equal
        {
            "double_layers": "0, 1",
            "single_layers": "0, 1",
            "scale": 3.0,
            "start_percent": 0.0,
            "end_percent": 1.0,
            "rescaling_scale": 0.0,
        },
    ),
]

# Largest relative change. LazyCache reuses differences of whole noisy latents, which shrink with
# the noise level; EasyCache looks at the network and is the one to take.
CACHES = {"EasyCache": 0.1, "LazyCache": 1.2}


def with_model(scene: Scene, model: Link) -> Scene:
    """The same scene with another MODEL."""
    other = copy.copy(scene)
    other.model = model
    return other


def patched(scene: Scene, node: str, **inputs: Any) -> Scene:
    return with_model(scene, scene.graph.add(node, model=scene.model, **inputs)[0])


def latents(studio: Studio, graph: Graph, **outputs: Link) -> dict[str, Tensor]:
    results = studio.run(graph, **outputs)
    return {name: found[SAMPLES] for name, found in results.items()}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.node)
def test_a_node_that_patches_the_model(studio: Studio, graph: Graph, row: Row) -> None:
    scene = WideScene(studio, graph)
    outputs = {
        "plain": scene.stock(steps=row.steps, **HALF),
        "active": patched(scene, row.node, **row.active).stock(steps=row.steps, **HALF),
    }
    if row.neutral:
        outputs["neutral"] = patched(scene, row.node, **row.neutral).stock(steps=row.steps, **HALF)
    if row.linear:
        doubled = {**row.active, row.linear: 2 * row.active[row.linear]}
        outputs["doubled"] = patched(scene, row.node, **doubled).stock(steps=row.steps, **HALF)
    found = latents(studio, graph, **outputs)
    effect = relative_error(found["active"], found["plain"])
    assert effect == pytest.approx(row.effect, rel=row.spread, abs=EXACT)
    if row.neutral:
        assert relative_error(found["neutral"], found["plain"]) < EXACT
    if row.linear:
        one, two = (found[name] - found["plain"] for name in ("active", "doubled"))
        assert relative_error(two, 2 * one) < 1e-4


@pytest.mark.parametrize("node", CACHES)
def test_a_cache_skips_steps_and_stays_near(studio: Studio, graph: Graph, node: str) -> None:
    options = {"start_percent": 0.15, "end_percent": 0.95, "verbose": False}
    scene = WideScene(studio, graph)
    outputs = {
        name: patched(scene, node, reuse_threshold=threshold, **options).stock(steps=10)
        for name, threshold in (("off", 0.0), ("on", 0.2))
    }
    found = latents(studio, graph, plain=scene.stock(steps=10), **outputs)
    assert relative_error(found["off"], found["plain"]) < EXACT
    assert 1e-3 < relative_error(found["on"], found["plain"]) < CACHES[node]
    skipped = re.findall(rf"{node} - skipped (\d+)/10 steps", studio.server.log)
    assert [int(number) > 0 for number in sorted(skipped)] == [False, True]


def test_video_guidance_gives_every_frame_its_own_scale(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    linear = patched(scene, "VideoLinearCFGGuidance", min_cfg=1.0)
    triangle = patched(scene, "VideoTriangleCFGGuidance", min_cfg=1.0)
    scales = {"linear": [1.0, 2.0, 3.0, 4.0], "triangle": [1.0, 3.0, 3.0, 1.0]}
    outputs = {f"cfg{c}": scene.stock(cfg=float(c), steps=1, **HALF) for c in (1, 2, 3, 4)}
    found = latents(
        studio,
        graph,
        linear=linear.stock(cfg=4.0, steps=1, **HALF),
        triangle=triangle.stock(cfg=4.0, steps=1, **HALF),
        **outputs,
    )
    for name, expected in scales.items():
        for frame in range(FRAMES):
            uniform = found[f"cfg{int(expected[frame])}"][frame]
            assert relative_error(found[name][frame], uniform) < EXACT, (name, frame)


def test_rescale_cfg_is_near_our_own_rescale(studio: Studio, graph: Graph) -> None:
    """It inverts v without dynamic rescale and frame by frame, hence approximately."""
    scene = Scene(studio, graph)
    stock = patched(scene, "RescaleCFG", multiplier=0.7)
    found = latents(
        studio,
        graph,
        plain=scene.stock(cfg=7.5, steps=5),
        stock=stock.stock(cfg=7.5, steps=5),
        ours=scene.sample(
            steps=5, cfg=7.5, eta=0.0, guidance_rescale=0.7, noise=scene.unit_noise()
        ),
    )
    effect = relative_error(found["ours"], found["plain"])
    assert relative_error(found["stock"], found["ours"]) < 0.5 * effect


@pytest.mark.parametrize(
    ("variant", "sampling", "zsnr"), [("256", "eps", False), ("512", "v_prediction", True)]
)
def test_model_sampling_discrete_drops_the_dynamic_rescale(
    studio: Studio, graph: Graph, variant: str, sampling: str, zsnr: bool
) -> None:
    scene = Scene(studio, graph, variant)
    stock = patched(scene, "ModelSamplingDiscrete", sampling=sampling, zsnr=zsnr)
    results = studio.run(
        graph,
        plain=scene.stock(steps=3),
        stock=stock.stock(steps=3),
        sigmas=stock.sigmas(10, "simple"),
    )
    schedule = NoiseSchedule.from_variant(zsnr, None, "v")
    expected = torch.cat([schedule.sigmas[torch.arange(999, 0, -100)], torch.zeros(1)])
    torch.testing.assert_close(results["sigmas"]["value"], expected, rtol=2e-4, atol=1e-6)
    change = relative_error(results["stock"][SAMPLES], results["plain"][SAMPLES])
    # 256 has no dynamic rescale to drop.
    assert change < EXACT if variant == "256" else 0.05 < change < 2


def test_basic_guider_is_guidance_by_one(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    sigmas = scene.sigmas(3)
    basic, one, ours = (
        scene.sample_custom(scene.unit_noise(), guider, scene.sampler(), sigmas)
        for guider in (scene.basic_guider(), scene.cfg_guider(1.0), scene.guider(cfg=1.0))
    )
    found = latents(studio, graph, basic=basic, one=one, ours=ours)
    assert relative_error(found["one"], found["basic"]) < EXACT
    assert relative_error(found["ours"], found["basic"]) < EXACT


def test_our_sampler_names_the_node_that_replaced_its_schedule(
    studio: Studio, graph: Graph
) -> None:
    scene = Scene(studio, graph)
    replaced = patched(scene, "ModelSamplingDiscrete", sampling="v_prediction", zsnr=True)
    message = studio.error(graph, replaced.sample())
    assert "sampling is ModelSamplingAdvanced" in message
    assert "take that node out" in message


@pytest.mark.parametrize(
    ("node", "inputs", "found"),
    [
        ("ModelSamplingSD3", {"shift": 3.0}, "ModelSamplingDiscreteFlow"),
        (
            "ModelSamplingFlux",
            {"max_shift": 1.15, "base_shift": 0.5, "width": 64, "height": 64},
            "ModelSamplingFlux",
        ),
    ],
)
def test_a_flow_models_sampling_is_refused_by_name(
    studio: Studio, graph: Graph, node: str, inputs: dict[str, Any], found: str
) -> None:
    scene = Scene(studio, graph)
    message = studio.error(graph, patched(scene, node, **inputs).stock(steps=2))
    assert f"replaced the model's sampling by {found}, which is for flow models" in message


@pytest.fixture(scope="module")
def least(studio: Studio) -> str:
    """A checkpoint for nodes that take long with any other."""
    return least_checkpoint(studio)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler's CPU back end needs g++")
@pytest.mark.skipif(
    "COMPILE_TESTS" not in os.environ, reason="compiles for minutes; COMPILE_TESTS=1 runs it"
)
def test_a_compiled_model_gives_the_same(studio: Studio, graph: Graph, least: str) -> None:
    scene = Scene(studio, graph, checkpoint=least, size=32)
    compiled = patched(scene, "TorchCompileModel", backend="inductor")
    results = studio.run(
        graph,
        plain=scene.stock(steps=2, denoise=0.5),
        compiled=compiled.stock(steps=2, denoise=0.5),
    )
    found = {name: result[SAMPLES] for name, result in results.items()}
    assert relative_error(found["compiled"], found["plain"]) < 1e-4
    assert not torch.equal(found["compiled"], found["plain"])


def test_a_difference_of_models_saved_as_a_lora(studio: Studio, graph: Graph, least: str) -> None:
    """LoraSave reads matrices and pictures' convolutions; it skips those along time."""
    # Of one size, as it cuts off the largest hundredth of numbers.
    signs = 0.5 - torch.arange(32) % 2
    layer = "diffusion_model.input_blocks.1.1.proj_in"
    factors = {
        f"{layer}.lora_A.weight": 0.4 * signs[None],
        f"{layer}.lora_B.weight": 0.4 * signs[:, None],
    }
    loras = studio.server.base / "models" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    save_file(factors, loras / "one.safetensors")
    options: dict[str, Any] = {"steps": 1, **HALF}
    scene = Scene(studio, graph, checkpoint=least, size=32, frames=2)
    changed = patched(scene, "LoraLoaderModelOnly", lora_name="one.safetensors", strength_model=1.0)
    difference = graph.add(
        "ModelMergeSubtract", model1=changed.model, model2=scene.model, multiplier=1.0
    )[0]
    settings = {"rank": 1, "lora_type": "standard", "bias_diff": False}
    graph.add("LoraSave", filename_prefix="extracted", model_diff=difference, **settings)
    found = latents(studio, graph, plain=scene.stock(**options), lora=changed.stock(**options))
    shutil.move(
        studio.server.base / "output" / "extracted_00001_.safetensors",
        loras / "extracted.safetensors",
    )
    again = Scene(studio, Graph(), checkpoint=least, size=32, frames=2)
    again = patched(
        again, "LoraLoaderModelOnly", lora_name="extracted.safetensors", strength_model=1.0
    )
    video = latents(studio, again.graph, video=again.stock(**options))["video"]
    effect = relative_error(found["lora"], found["plain"])
    assert effect > 1e-3
    assert relative_error(video, found["lora"]) < 0.02 * effect  # the file has half precision
