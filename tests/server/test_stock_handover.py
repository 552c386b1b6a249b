"""Across stock samplers: videos handed from one to the next, pieces of batches sampled again."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link
from scene import FRAMES, SIZE, Scene, advanced
from studio import Studio, picture, relative_error

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
EXACT = 1e-5


@pytest.mark.parametrize("variant", ["512", "256"])
def test_two_advanced_samplers_equal_one(studio: Studio, graph: Graph, variant: str) -> None:
    scene = Scene(studio, graph, variant)
    stage = advanced(scene, scene.latent, 0, 3)
    found = studio.run(
        graph,
        whole=scene.ksampler(seed=1, steps=6)[0],
        stage=stage,
        both=advanced(scene, stage, 3, 10000),
    )
    whole = found["whole"][SAMPLES]
    assert relative_error(found["both"][SAMPLES], whole) < 1e-4
    assert relative_error(found["stage"][SAMPLES], whole) > 0.01


@pytest.mark.parametrize(("start", "length"), [(0, 2), (0, 1)])
def test_some_frames_of_a_video_are_a_shorter_video(
    studio: Studio, graph: Graph, start: int, length: int
) -> None:
    """Get Latent From Batch keeps the old number of frames in the LATENT; the rows count."""
    scene = Scene(studio, graph)
    given = studio.latent(graph, torch.ones(FRAMES, 4, 8, 8), FRAMES)
    part = graph.add("LatentFromBatch", samples=given, batch_index=start, length=length)[0]
    short = Scene(studio, graph, frames=length)
    options: dict[str, Any] = {"seed": 2, "steps": 2, "denoise": 0.5}
    found = studio.run(
        graph,
        part=scene.ksampler(latent_image=part, **options)[0],
        ours=sample_ours(scene, part),
        short=short.ksampler(
            latent_image=studio.latent(graph, torch.ones(length, 4, 8, 8), length), **options
        )[0],
    )
    assert found["part"][SAMPLES].shape == (length, 4, 8, 8)
    assert relative_error(found["part"][SAMPLES], found["short"][SAMPLES]) < EXACT
    assert found["ours"][SAMPLES].shape == (length, 4, 8, 8)


def sample_ours(scene: Scene, latent: Link) -> Link:
    scene.latent, before = latent, scene.latent
    link = scene.sample(steps=2, denoise=0.5)
    scene.latent = before
    return link


def test_every_video_of_a_batch_has_the_prompt_schedule(studio: Studio, graph: Graph) -> None:
    """Text rows are frames: each video of the batch runs through all of them."""
    pictures = torch.cat([picture(SIZE, SIZE, phase) for phase in (0.0, 2.0)])
    noise = torch.randn(2 * FRAMES, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def sample(images: torch.Tensor, rows: torch.Tensor, prompts: str = "sea\nstorm") -> Link:
        scene = Scene(studio, graph, image=images)
        scene.text("")
        scene.positive = scene.schedule(prompts, FRAMES)
        scene.context(scene.picture).detail(scene.picture, SIZE, SIZE, FRAMES)
        return scene.sample(steps=2, noise=studio.noise(graph, rows))

    found = studio.run(
        graph,
        both=sample(pictures, noise),
        one=sample(pictures[:1], noise[:FRAMES]),
        two=sample(pictures[1:], noise[FRAMES:]),
        turned=sample(pictures[1:], noise[FRAMES:], "storm\nsea"),
    )
    single = torch.cat([found[name][SAMPLES] for name in ("one", "two")])
    assert relative_error(found["both"][SAMPLES], single) < 1e-4
    assert relative_error(found["turned"][SAMPLES], found["two"][SAMPLES]) > 1e-3


def test_every_video_of_a_batch_loses_its_last_frame(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    samples = torch.randn(2 * FRAMES, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    latent = studio.latent(graph, samples, FRAMES)
    decoded = scene.decode(latent, chunk_frames=3, drop_last_frame=True)
    whole = graph.add("VAEDecode", vae=scene.vae, samples=latent)[0]
    found = studio.run(graph, images=decoded[0], last=decoded[1], whole=whole)
    videos = found["whole"]["value"].unflatten(0, (2, FRAMES))
    torch.testing.assert_close(
        found["images"]["value"], videos[:, :-1].flatten(0, 1), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(found["last"]["value"], videos[:, -2], atol=1e-5, rtol=0)
