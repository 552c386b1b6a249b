"""Across stock nodes on CONDITIONING and LATENT: areas, masks, time ranges, batches."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from graphs import Graph, Link
from scene import FRAMES, SIZE, Scene, advanced, unit_noise
from studio import Studio, picture, relative_error
from torch import Tensor

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
EXACT = 1e-5
# Half-way down the noise levels, where float32 leaves more digits than at 6455.
HALF: dict[str, Any] = {"denoise": 0.5, "steps": 2}
OTHER_PROMPT = "a fire burns in the snow"


def with_prompts(scene: Scene, positive: Link, negative: Link | None = None) -> Scene:
    """The same scene with other conditionings."""
    other = copy.copy(scene)
    other.positive, other.negative = positive, negative or scene.negative
    return other


def latents(studio: Studio, graph: Graph, **outputs: Link) -> dict[str, Tensor]:
    results = studio.run(graph, **outputs)
    return {name: found[SAMPLES] for name, found in results.items()}


def mask(studio: Studio, graph: Graph, values: Tensor) -> Link:
    """MASK `[B, H, W]`."""
    image = studio.image(graph, values[..., None].expand(*values.shape, 3))
    return graph.add("ImageToMask", image=image, channel="red")[0]


def left_half(size: int = SIZE) -> Tensor:
    """1 on the left half: `[1, H, W]`."""
    values = torch.zeros(1, size, size)
    values[..., : size // 2] = 1
    return values


@pytest.fixture
def scene(studio: Studio, graph: Graph) -> Scene:
    return Scene(studio, graph)


@pytest.fixture
def other(studio: Studio, graph: Graph) -> Scene:
    """Another prompt and another picture."""
    return Scene(studio, graph, prompt=OTHER_PROMPT, image=picture(SIZE, SIZE, 2.0))


def test_combining_equal_conditionings_changes_nothing(studio: Studio, scene: Scene) -> None:
    add = scene.graph.add
    same = {
        "combined": add(
            "ConditioningCombine", conditioning_1=scene.positive, conditioning_2=scene.positive
        )[0],
        "area": add(
            "ConditioningSetArea",
            conditioning=scene.positive,
            width=SIZE,
            height=SIZE,
            x=0,
            y=0,
            strength=1.0,
        )[0],
        "masked": add(
            "ConditioningSetMask",
            conditioning=scene.positive,
            mask=mask(studio, scene.graph, torch.ones(1, SIZE, SIZE)),
            strength=1.0,
            set_cond_area="default",
        )[0],
        "ranged": add(
            "ConditioningSetTimestepRange", conditioning=scene.positive, start=0.0, end=1.0
        )[0],
        "averaged": add(
            "ConditioningAverage",
            conditioning_to=scene.positive,
            conditioning_from=scene.negative,
            conditioning_to_strength=1.0,
        )[0],
    }
    outputs = {k: with_prompts(scene, c).stock(**HALF) for k, c in same.items()}
    found = latents(studio, scene.graph, plain=scene.stock(**HALF), **outputs)
    for name in same:
        assert relative_error(found[name], found["plain"]) < EXACT, name


def test_masked_conditionings_rule_their_halves(studio: Studio, scene: Scene, other: Scene) -> None:
    graph, left = scene.graph, left_half()

    def masked(conditioning: Link, values: Tensor) -> Link:
        return graph.add(
            "ConditioningSetMask",
            conditioning=conditioning,
            mask=mask(studio, graph, values),
            strength=1.0,
            set_cond_area="default",
        )[0]

    both = graph.add(
        "ConditioningCombine",
        conditioning_1=masked(scene.positive, left),
        conditioning_2=masked(other.positive, 1 - left),
    )[0]
    outputs = {
        name: with_prompts(scene, conditioning).stock(cfg=1.0, steps=1, denoise=0.5)
        for name, conditioning in (
            ("both", both),
            ("one", scene.positive),
            ("two", other.positive),
        )
    }
    found = latents(studio, graph, **outputs)
    middle = SIZE // 16
    one, two = found["one"][..., :middle], found["two"][..., middle:]
    assert relative_error(found["both"][..., :middle], one) < EXACT
    assert relative_error(found["both"][..., middle:], two) < EXACT
    assert relative_error(found["one"], found["two"]) > 0.05


def cropped(studio: Studio, scene: Scene, side: int) -> Tensor:
    """One step on the left (0) or right (1) half alone, its noise and guidance latents cut."""
    concat = studio.run(scene.graph, conditioning=scene.positive)["conditioning"]
    half = slice(0, SIZE // 16) if side == 0 else slice(SIZE // 16, None)
    graph = scene.graph
    latent = concat["value.0.1.concat_latent_image"][..., half]
    conditioning = graph.add(
        "TestSetConditioning",
        conditioning=scene.positive,
        file=studio.put(value=latent),
        key="value",
        name="concat_latent_image",
    )[0]
    alone = with_prompts(scene, conditioning)
    sampled = alone.sample_custom(
        studio.noise(graph, unit_noise(0)[..., half]),
        alone.basic_guider(),
        alone.sampler(),
        alone.sigmas(1, denoise=0.5),
        studio.latent(graph, torch.zeros_like(latent), FRAMES),
    )
    return latents(studio, graph, sampled=sampled)["sampled"]


def test_areas_see_their_part_of_the_latents(studio: Studio, scene: Scene, other: Scene) -> None:
    graph = scene.graph

    def area(conditioning: Link, x: float) -> Link:
        return graph.add(
            "ConditioningSetAreaPercentage",
            conditioning=conditioning,
            width=0.5,
            height=1.0,
            x=x,
            y=0.0,
            strength=1.0,
        )[0]

    both = graph.add(
        "ConditioningCombine",
        conditioning_1=area(scene.positive, 0.0),
        conditioning_2=area(other.positive, 0.5),
    )[0]
    sampled = with_prompts(scene, both).stock(cfg=1.0, steps=1, denoise=0.5)
    found = latents(studio, graph, both=sampled)["both"]
    expected = torch.cat([cropped(studio, s, side) for s, side in ((scene, 0), (other, 1))], -1)
    assert relative_error(found, expected) < EXACT


def test_time_ranges_equal_two_stages(studio: Studio, scene: Scene, other: Scene) -> None:
    graph = scene.graph
    early, late = (
        graph.add("ConditioningSetTimestepRange", conditioning=c, start=start, end=end)[0]
        for c, start, end in ((scene.positive, 0.0, 0.5), (other.positive, 0.5, 1.0))
    )
    both = graph.add("ConditioningCombine", conditioning_1=early, conditioning_2=late)[0]
    sigmas = scene.sigmas(5)  # timesteps 999, 799, 599 | 399, 199
    ranged = scene.sample_custom(
        scene.unit_noise(), scene.basic_guider(both), scene.sampler(), sigmas
    )
    split = graph.add("SplitSigmas", sigmas=sigmas, step=3)
    first = scene.sample_custom(scene.unit_noise(), scene.basic_guider(), scene.sampler(), split[0])
    second = scene.sample_custom(
        scene.no_noise(), scene.basic_guider(other.positive), scene.sampler(), split[1], first
    )
    found = latents(studio, graph, ranged=ranged, staged=second, plain=scene.stock(cfg=1.0))
    assert relative_error(found["ranged"], found["staged"]) < 1e-4
    assert relative_error(found["ranged"], found["plain"]) > 1e-3


def encoded(scene: Scene) -> Link:
    """LATENT of four different pictures."""
    images = torch.cat([picture(SIZE, SIZE, float(i)) for i in range(FRAMES)])
    image = scene.studio.image(scene.graph, images)
    return scene.graph.add("VAEEncode", pixels=image, vae=scene.vae)[0]


@pytest.mark.parametrize("per_frame", [False, True])
def test_a_noise_mask_keeps_what_it_covers(studio: Studio, scene: Scene, per_frame: bool) -> None:
    graph, latent = scene.graph, encoded(scene)
    values = left_half().expand(FRAMES, -1, -1).clone()
    if per_frame:
        values[1], values[2] = 0, 1
    given = values if per_frame else values[:1]
    masked = graph.add("SetLatentNoiseMask", samples=latent, mask=mask(studio, graph, given))[0]
    found = latents(
        studio,
        graph,
        input=latent,
        stock=scene.stock(cfg=1.0, latent=masked),
        ours=with_latent(scene, masked).sample(steps=5, cfg=1.0, eta=0.0, noise=scene.unit_noise()),
    )
    weight = F.interpolate(values[:, None], scale_factor=1 / 8, mode="area")
    for name in ("stock", "ours"):
        kept, changed = (found[name] - found["input"]) * (1 - weight), found[name] - found["input"]
        assert float(kept.abs().max()) < 1e-4 * float(found["input"].abs().max()), name
        assert float((changed * weight).abs().mean()) > 0.1, name
    assert relative_error(found["ours"], found["stock"]) < 1e-4


def with_latent(scene: Scene, latent: Link) -> Scene:
    other = copy.copy(scene)
    other.latent = latent
    return other


def test_differential_diffusion_starts_a_pixel_at_its_own_noise_level(
    studio: Studio, scene: Scene
) -> None:
    graph, latent = scene.graph, encoded(scene)
    scene.model = graph.add("DifferentialDiffusion", model=scene.model, strength=1.0)[0]
    sigmas = scene.sigmas(5)
    split = graph.add("SplitSigmas", sigmas=sigmas, step=3)

    def sample(value: float, schedule: Link, masked: bool = True) -> Link:
        values = torch.full((1, SIZE, SIZE), value)
        given = mask(studio, graph, values)
        start = graph.add("SetLatentNoiseMask", samples=latent, mask=given)[0]
        return scene.sample_custom(
            scene.unit_noise(),
            scene.basic_guider(),
            scene.sampler(),
            schedule,
            start if masked else latent,
        )

    found = latents(
        studio,
        graph,
        input=latent,
        none=sample(0.0, sigmas),
        half=sample(0.5, sigmas),
        half_expected=sample(1.0, split[1], masked=False),
        whole=sample(1.0, sigmas),
        whole_expected=sample(1.0, sigmas, masked=False),
    )
    assert relative_error(found["none"], found["input"]) < 1e-3
    # At half strength a pixel waits until the timestep is half-way: three of five steps.
    assert relative_error(found["half"], found["half_expected"]) < 1e-3
    assert relative_error(found["whole"], found["whole_expected"]) < EXACT
    assert relative_error(found["half"], found["whole"]) > 0.05


def test_denoise_below_one_starts_part_way(studio: Studio, scene: Scene) -> None:
    graph, latent = scene.graph, encoded(scene)
    noise = graph.add("RandomNoise", noise_seed=3)[0]
    noised = {"add_noise": "enable", "noise_seed": 3, "steps": 4}
    found = latents(
        studio,
        graph,
        input=latent,
        ksampler=scene.ksampler(seed=3, steps=2, denoise=0.5, latent_image=latent)[0],
        advanced=advanced(scene, latent, 2, 10000, **noised),
        ours=with_latent(scene, latent).sample(
            steps=2, cfg=3.0, eta=0.0, denoise=0.5, guidance_rescale=0.0, noise=noise
        ),
    )
    assert relative_error(found["ksampler"], found["advanced"]) < EXACT
    assert relative_error(found["ours"], found["ksampler"]) < 1e-4
    assert relative_error(found["ours"], found["input"]) > 0.05


def upscaled(graph: Graph, latent: Link, method: str) -> Link:
    """LATENT of 96 x 96 pixels."""
    size = {"width": 96, "height": 96, "crop": "disabled"}
    return graph.add("LatentUpscale", samples=latent, upscale_method=method, **size)[0]


def test_latent_batches_and_the_vae(studio: Studio, scene: Scene) -> None:
    graph, latent = scene.graph, encoded(scene)
    two = graph.add("LatentFromBatch", samples=latent, batch_index=1, length=2)[0]
    tiles = {"tile_size": 512, "overlap": 64, "temporal_size": 64, "temporal_overlap": 8}
    results = studio.run(
        graph,
        latent=latent,
        two=two,
        whole=graph.add("VAEDecode", vae=scene.vae, samples=latent)[0],
        part=graph.add("VAEDecode", vae=scene.vae, samples=two)[0],
        tiled=graph.add("VAEDecodeTiled", vae=scene.vae, samples=latent, **tiles)[0],
        ours=scene.decode(latent, chunk_frames=3)[0],
        upscaled=upscaled(graph, latent, "bilinear"),
        guidance=scene.positive,
    )
    found = results["latent"][SAMPLES]
    assert torch.equal(results["two"][SAMPLES], found[1:3])
    whole = results["whole"]["value"]
    assert whole.shape == (FRAMES, SIZE, SIZE, 3)
    for name, expected in (("part", whole[1:3]), ("tiled", whole), ("ours", whole)):
        assert relative_error(results[name]["value"], expected) < 1e-4, name
    expected = F.interpolate(found, size=(12, 12), mode="bilinear")
    assert relative_error(results["upscaled"][SAMPLES], expected) < EXACT
    # The first of the four pictures is the scene's own: guidance latents are plain VAE latents.
    concat = results["guidance"]["value.0.1.concat_latent_image"]
    assert relative_error(concat[0], found[0]) < EXACT


def test_a_second_pass_at_a_larger_size(studio: Studio, scene: Scene) -> None:
    """The guidance latents follow the noise's size."""
    graph = scene.graph
    small = scene.stock(**HALF, latent=encoded(scene))
    larger = upscaled(graph, small, "nearest-exact")
    results = studio.run(graph, first=small, conditioning=scene.positive)
    concat = results["conditioning"]["value.0.1.concat_latent_image"]
    resized = graph.add(
        "TestSetConditioning",
        conditioning=scene.positive,
        file=studio.put(value=F.interpolate(concat, size=(12, 12), mode="bilinear")),
        key="value",
        name="concat_latent_image",
    )[0]
    found = latents(
        studio,
        graph,
        automatic=scene.ksampler(seed=2, steps=2, cfg=1.0, denoise=0.5, latent_image=larger)[0],
        resized=with_prompts(scene, resized).ksampler(
            seed=2, steps=2, cfg=1.0, denoise=0.5, latent_image=larger
        )[0],
    )
    assert found["automatic"].shape == (FRAMES, 4, 12, 12)
    assert relative_error(found["automatic"], found["resized"]) < EXACT
