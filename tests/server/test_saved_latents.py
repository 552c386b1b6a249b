"""Across decode and sampling: what a LATENT says of the number of videos, and what it lost."""

import shutil
from pathlib import Path

import pytest
import torch
from graphs import Graph, Link
from outcome import refused, runs
from scene import FRAMES, SIZE, Scene
from studio import Studio, picture

pytestmark = pytest.mark.server


def two_videos(studio: Studio, graph: Graph) -> Scene:
    pictures = torch.cat([picture(SIZE, SIZE, phase) for phase in (0.0, 2.0)])
    return Scene(studio, graph, image=pictures)


def loaded(studio: Studio, graph: Graph, scene: Scene, latent: Link) -> Link:
    """The latent after Save Latent and Load Latent."""
    before = set(saved_files(studio))
    save = Graph()
    save.prompt = dict(graph.prompt)
    save.add("SaveLatent", samples=latent, filename_prefix="latents/count")
    studio.server.prompt(save.prompt, timeout=300)
    (made,) = set(saved_files(studio)) - before
    shutil.copy(made, studio.server.base / "input" / made.name)
    return graph.add("LoadLatent", latent=made.name)[0]


def saved_files(studio: Studio) -> list[Path]:
    return list((studio.server.base / "output").rglob("*.latent"))


def decoded(graph: Graph, scene: Scene, samples: Link, **options: int) -> Link:
    settings = {"chunk_frames": 0, "tile_size": 0, "drop_last_frame": True, **options}
    return graph.add("DynamiCrafterVideoDecode", vae=scene.vae, samples=samples, **settings)[0]


def test_the_frames_of_a_loaded_latent_are_asked_for(studio: Studio, graph: Graph) -> None:
    scene = two_videos(studio, graph)
    latent = loaded(studio, graph, scene, scene.sample(steps=1))
    assert "set num_frames" in refused(studio, graph, decoded(graph, scene, latent))


def test_the_frames_of_a_loaded_latent_can_be_said(studio: Studio, graph: Graph) -> None:
    scene = two_videos(studio, graph)
    sampled = scene.sample(steps=1)
    latent = loaded(studio, graph, scene, sampled)
    found = runs(
        studio,
        graph,
        direct=decoded(graph, scene, sampled),
        said=decoded(graph, scene, latent, num_frames=FRAMES),
    )
    assert found["said"]["value"].shape[0] == 2 * (FRAMES - 1)
    assert torch.equal(found["said"]["value"], found["direct"]["value"])


def test_a_sampler_knows_them_from_the_conditioning(studio: Studio, graph: Graph) -> None:
    scene = two_videos(studio, graph)
    scene.latent = loaded(studio, graph, scene, scene.latent)
    found = runs(studio, graph, latent=scene.sample(steps=1))["latent"]
    assert int(found["value.num_frames"]) == FRAMES


def test_one_noise_for_all_frames(studio: Studio, graph: Graph) -> None:
    """Latent Batch Seed Behavior, fixed."""
    scene = two_videos(studio, graph)
    options = {"samples": scene.latent, "seed_behavior": "fixed"}
    fixed = graph.add("LatentBatchSeedBehavior", **options)[0]
    noise = graph.add("DynamiCrafterAnalyticInit", **analytic(scene))[0]
    drawn = graph.add("TestDrawNoise", noise=noise, latent=fixed)[0]
    found = runs(studio, graph, drawn=drawn)["drawn"]["value.samples"]
    assert torch.allclose(found, found[:1].expand_as(found), atol=1e-5)


def analytic(scene: Scene) -> dict[str, object]:
    """Noise whose draws are the sampler's own."""
    values = {"init_file": "built-in", "seed": 1, "start_timestep": 940}
    return {"model": scene.model, **values}


@pytest.mark.parametrize(
    ("shape", "fragment"),
    [
        ((3, 4, 8, 8), "for 3 frames"),
        ((FRAMES, 9, 8, 8), "expected [frames, 4"),
        ((FRAMES, 4, 8, 8, 1), "expected [frames, 4"),
    ],
)
def test_image_latents_of_another_shape(
    studio: Studio, graph: Graph, shape: tuple[int, ...], fragment: str
) -> None:
    scene = Scene(studio, graph)
    scene.positive = graph.add(
        "TestSetConditioning",
        conditioning=scene.positive,
        file=studio.put(concat=torch.ones(shape)),
        key="concat",
        name="concat_latent_image",
    )[0]
    assert fragment in refused(studio, graph, scene.sample(steps=1))
