"""Across stock nodes: several ways to one thing give one video; what has no meaning is refused."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link
from least_checkpoint import least_checkpoint, least_weights
from safetensors.torch import save_file
from scene import Scene
from small_checkpoint import UNET
from studio import Studio, picture, relative_error
from torch import Tensor

from dc_model.sampling.schedule import NoiseSchedule

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
EXACT = 1e-5
SIZE, FRAMES = 32, 2
ONE_STEP: dict[str, Any] = {"steps": 1, "denoise": 0.5}
# A spatial and a temporal layer of the small checkpoint, 32 wide.
LAYERS = ("input_blocks.1.1.proj_in", "input_blocks.1.2.transformer_blocks.0.attn1.to_q")


@pytest.fixture
def scene(studio: Studio, graph: Graph) -> Scene:
    return Scene(studio, graph, size=SIZE, frames=FRAMES)


def available(studio: Studio, node: str) -> bool:
    return node in studio.server.object_info()


def sampled(studio: Studio, graph: Graph, outputs: dict[str, Link]) -> dict[str, Tensor]:
    return {name: found[SAMPLES] for name, found in studio.run(graph, **outputs).items()}


@pytest.fixture(scope="module")
def lora(studio: Studio) -> str:
    """A LoRA under the model's own key names."""
    generator, tensors = torch.Generator().manual_seed(0), {}
    for layer in LAYERS:
        tensors[f"diffusion_model.{layer}.lora_A.weight"] = torch.randn(4, 32, generator=generator)
        tensors[f"diffusion_model.{layer}.lora_B.weight"] = torch.randn(32, 4, generator=generator)
    folder = studio.server.base / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v * 0.1 for k, v in tensors.items()}, folder / "sibling.safetensors")
    return "sibling.safetensors"


def test_every_way_to_a_lora_gives_one_video(studio: Studio, scene: Scene, lora: str) -> None:
    graph, model = scene.graph, scene.model
    given = {"lora_name": lora, "strength_model": 0.7}
    with_clip = {**given, "clip": scene.clip, "strength_clip": 0.0}
    outputs = {"plain": scene.stock(**ONE_STEP)}
    for node, inputs in (
        ("LoraLoaderModelOnly", given),
        ("LoraLoader", with_clip),
        ("LoraLoaderBypassModelOnly", given),
        ("LoraLoaderBypass", with_clip),
    ):
        if available(studio, node):
            scene.model = graph.add(node, model=model, **inputs)[0]
            outputs[node] = scene.stock(**ONE_STEP)
    hooks = graph.add("CreateHookLoraModelOnly", **given)[0]
    scene.model = model
    scene.positive, scene.negative = (
        graph.add(
            "ConditioningSetProperties",
            cond_NEW=prompt,
            hooks=hooks,
            strength=1.0,
            set_cond_area="default",
        )[0]
        for prompt in (scene.positive, scene.negative)
    )
    found = sampled(studio, graph, {**outputs, "hooks": scene.stock(**ONE_STEP)})
    plain, expected = found.pop("plain"), found["LoraLoaderModelOnly"]
    assert relative_error(expected, plain) > 1e-3
    errors = {name: relative_error(video, expected) for name, video in found.items()}
    assert {name for name, error in errors.items() if not error < EXACT} == set()


def test_merges_by_blocks_are_merged_weights(studio: Studio, graph: Graph) -> None:
    """Output blocks of the second model, everything else of the first."""
    second = least_weights(studio, 1)

    def merge(tensors: dict[str, Tensor]) -> None:
        for key in tensors:
            if key.startswith((f"{UNET}out.", f"{UNET}output_blocks.")):
                tensors[key] = second[key]

    one, two = least_checkpoint(studio), least_checkpoint(studio, 1)
    merged = least_checkpoint(studio, name="-outputs", edit=merge)
    scene, other, expected = (
        Scene(studio, graph, checkpoint=name, size=SIZE, frames=FRAMES)
        for name in (one, two, merged)
    )
    pair = {"model1": scene.model, "model2": other.model}
    required = studio.server.object_info()["ModelMergeSD2"]["input"]["required"]
    sliders = {name: float(not name.startswith("out")) for name in required if name not in pair}
    outputs = {"plain": scene.stock(**ONE_STEP), "expected": expected.stock(**ONE_STEP)}
    for node, inputs in (
        ("ModelMergeBlocks", {"input": 1.0, "middle": 1.0, "out": 0.0}),
        ("ModelMergeSD2", sliders),
    ):
        scene.model = graph.add(node, **pair, **inputs)[0]
        outputs[node] = scene.stock(**ONE_STEP)
    found = sampled(studio, graph, outputs)
    assert relative_error(found["plain"], found["expected"]) > 1e-3
    assert relative_error(found["ModelMergeBlocks"], found["expected"]) < EXACT
    assert relative_error(found["ModelMergeSD2"], found["expected"]) < EXACT


def test_joined_latents_are_several_videos(studio: Studio, scene: Scene) -> None:
    graph, noise = scene.graph, scene.unit_noise()
    shape = (FRAMES, 4, SIZE // 8, SIZE // 8)
    videos = [torch.full(shape, value) for value in (0.5, -0.5)]
    one, two = (studio.latent(graph, video, FRAMES) for video in videos)
    guider, sampler, sigmas = scene.cfg_guider(), scene.sampler(), scene.sigmas(1, denoise=0.5)

    def stage(latent: Link, drawn: Link) -> Link:
        return scene.sample_custom(drawn, guider, sampler, sigmas, latent)

    twice = scene.unit_noise(videos=2)
    joined = graph.add("LatentBatch", samples1=one, samples2=two)[0]
    repeated = graph.add("RepeatLatentBatch", samples=one, amount=2)[0]
    parts = graph.add("LatentFromBatch", samples=joined, batch_index=FRAMES, length=FRAMES)[0]
    found = sampled(
        studio,
        graph,
        {
            "joined": stage(joined, twice),
            "repeated": stage(repeated, twice),
            "one": stage(one, noise),
            "part": stage(parts, noise),
            "two": stage(two, noise),
        },
    )
    assert torch.equal(found["part"], found["two"])
    assert found["joined"].shape == found["repeated"].shape == (2 * FRAMES, *shape[1:])
    # The longer draw of noise begins with the shorter one.
    assert relative_error(found["joined"][:FRAMES], found["one"]) < EXACT
    assert relative_error(found["repeated"][:FRAMES], found["one"]) < EXACT
    assert relative_error(found["joined"][FRAMES:], found["repeated"][FRAMES:]) > 1e-3


def test_a_part_of_the_run_as_a_noise_level(studio: Studio, scene: Scene) -> None:
    parts = (0.0, 0.25, 0.5, 1.0)
    outputs = {
        str(part): scene.graph.add(
            "SamplingPercentToSigma",
            model=scene.model,
            sampling_percent=part,
            return_actual_sigma=True,
        )[0]
        for part in parts
    }
    found = studio.run(scene.graph, **outputs)
    sigmas = NoiseSchedule.from_variant(True, 0.7, "v").sigmas
    at = {0.0: 999, 0.25: 749, 0.5: 499, 1.0: 0}
    for part in parts:
        expected = float(sigmas[at[part]])
        low, high = sorted((expected, float(sigmas[min(at[part] + 1, 999)])))
        assert low * 0.999 <= float(found[str(part)]["value"]) <= high * 1.001, part


@pytest.mark.parametrize(
    ("node", "inputs", "words"),
    [
        ("LatentConcat", {"dim": "t"}, "expected [frames, 4, height / 8"),
        ("LatentCut", {"dim": "t", "index": 0, "amount": 1}, "expected [frames, 4, height / 8"),
        ("LTXVConcatAVLatent", {}, "expected [frames, 4, height / 8"),
        ("InpaintModelConditioning", {"noise_mask": True}, "use Set Latent Noise Mask"),
        (
            "ConditioningSetAreaPercentageVideo",
            {"width": 0.5, "height": 1.0, "temporal": 1.0, "x": 0.0, "y": 0.0, "z": 0.0},
            "use ConditioningSetAreaPercentage",
        ),
    ],
)
def test_what_would_be_taken_for_something_else_is_refused(
    studio: Studio, scene: Scene, node: str, inputs: dict[str, Any], words: str
) -> None:
    graph = scene.graph
    info = studio.server.object_info()[node]
    latent = studio.latent(graph, torch.ones(FRAMES, 4, SIZE // 8, SIZE // 8), FRAMES)
    mask = graph.add("SolidMask", value=1.0, width=SIZE, height=SIZE)[0]
    parts = {
        "LATENT": latent,
        "VAE": scene.vae,
        "IMAGE": studio.image(graph, picture(SIZE, SIZE, 1.0)),
        "MASK": mask,
        "FLOAT": 1.0,
    }
    wired = {
        name: {"positive": scene.positive, "negative": scene.negative}.get(
            name, scene.positive if spec[0] == "CONDITIONING" else parts.get(str(spec[0]))
        )
        for name, spec in info["input"]["required"].items()
    }
    added = graph.add(node, **{**wired, **inputs})
    if info["output"][0] == "CONDITIONING":
        scene.positive = added[0]
        assert words in studio.error(graph, scene.ksampler(steps=1)[0])
    else:
        assert words in studio.error(graph, scene.ksampler(steps=1, latent_image=added[0])[0])
