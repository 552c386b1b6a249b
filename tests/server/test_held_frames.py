"""Held frames stay clean when sampling is divided into stages."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link
from scene import FRAMES, SIZE, Scene, unit_noise
from scene import advanced as stage_of
from studio import Animation, Studio, picture, relative_error

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
TOLERANCE = 1e-4
HELD, STEPS = 2, 4


def extended(studio: Studio, graph: Graph) -> Scene:
    """A scene that continues a video, with its conditionings and latent."""
    scene = Scene(studio, graph)
    images = torch.cat([picture(SIZE, SIZE, 0.7 * i) for i in range(FRAMES)])
    scene.text("the wind turns").context(scene.picture)
    scene.extend(studio.image(graph, images), FRAMES, HELD)
    return scene


def pin(scene: Animation, frames: str = "first") -> Any:
    graph = scene.graph
    scene.model = graph.add("DynamiCrafterPinFirstFrame", model=scene.model, frames=frames)[0]
    return scene


def pinned(studio: Studio, graph: Graph) -> Scene:
    return pin(Scene(studio, graph))


def both(studio: Studio, graph: Graph) -> Scene:
    return pin(extended(studio, graph))


def known(scene: Scene) -> Link:
    """LATENT whose first frames are those that the scene holds."""
    return scene.graph.add("VAEEncode", pixels=scene.picture, vae=scene.vae)[0]


def staged(scene: Scene, sampler: Link, sigmas: Link, *cuts: int) -> Link:
    """LATENT of SamplerCustomAdvanced in stages that end after `cuts` steps."""
    graph, guider = scene.graph, scene.guider(cfg=4.0)
    latent, noise = scene.latent, scene.unit_noise()
    done = 0
    for cut in cuts:
        split = graph.add("SplitSigmas", sigmas=sigmas, step=cut - done)
        latent = scene.sample_custom(noise, guider, sampler, split[0], latent)
        noise, sigmas, done = scene.no_noise(), split[1], cut
    return scene.sample_custom(noise, guider, sampler, sigmas, latent)


def advanced(scene: Scene, latent: Link, start: int, end: int, sampler: str = "euler") -> Link:
    """One stage of KSamplerAdvanced."""
    return stage_of(scene, latent, start, end, steps=STEPS, sampler_name=sampler)


@pytest.mark.parametrize(
    ("made", "sampler", "ending"),
    [
        (extended, "euler", "clean"),
        (extended, "ddim", "published"),
        (pinned, "ddim", "published"),
        (both, "ddim", "clean"),
    ],
)
def test_stages_equal_one_with_held_frames(
    studio: Studio, graph: Graph, made: Any, sampler: str, ending: str
) -> None:
    scene = made(studio, graph)
    ddim = graph.add("DynamiCrafterDDIM", eta=0.0)[0]
    chosen = ddim if sampler == "ddim" else scene.sampler()
    sigmas = scene.scheduler(steps=STEPS, ending=ending)
    found = studio.run(
        graph,
        latent=scene.latent,
        image=known(scene),
        whole=staged(scene, chosen, sigmas),
        two=staged(scene, chosen, sigmas, 1),
        three=staged(scene, chosen, sigmas, 2, 3),
    )
    given = found["image" if made is pinned else "latent"][SAMPLES]
    held = 1 if made is pinned else HELD
    for name in ("whole", "two", "three"):
        video = found[name][SAMPLES]
        torch.testing.assert_close(video[:held], given[:held], atol=1e-5, rtol=1e-5, msg=name)
        assert relative_error(video, found["whole"][SAMPLES]) < TOLERANCE, name


@pytest.mark.parametrize(("made", "sampler"), [(extended, "euler"), (pinned, "ddim")])
def test_advanced_samplers_hold_frames_in_every_stage(
    studio: Studio, graph: Graph, made: Any, sampler: str
) -> None:
    scene = made(studio, graph)
    stage = advanced(scene, scene.latent, 0, 2, sampler)
    found = studio.run(
        graph,
        latent=scene.latent,
        image=known(scene),
        whole=advanced(scene, scene.latent, 0, 10000, sampler),
        two=advanced(scene, stage, 2, 10000, sampler),
    )
    given = found["image" if made is pinned else "latent"][SAMPLES]
    held = 1 if made is pinned else HELD
    torch.testing.assert_close(found["two"][SAMPLES][:held], given[:held], atol=1e-5, rtol=1e-5)
    assert relative_error(found["two"][SAMPLES], found["whole"][SAMPLES]) < TOLERANCE


@pytest.mark.parametrize("made", [extended, pinned])
def test_stochastic_samplers_hold_frames_in_every_stage(
    studio: Studio, graph: Graph, made: Any
) -> None:
    scene = made(studio, graph)
    sigmas = scene.scheduler(steps=STEPS)
    ddim = graph.add("DynamiCrafterDDIM", eta=1.0)[0]
    ancestral = scene.sampler("dpmpp_2s_ancestral")
    found = studio.run(
        graph,
        latent=scene.latent,
        image=known(scene),
        ddim=staged(scene, ddim, sigmas, 2),
        ancestral=staged(scene, ancestral, sigmas, 1, 3),
    )
    given = found["image" if made is pinned else "latent"][SAMPLES]
    held = 1 if made is pinned else HELD
    for name in ("ddim", "ancestral"):
        video = found[name][SAMPLES]
        torch.testing.assert_close(video[:held], given[:held], atol=1e-5, rtol=1e-5, msg=name)
        assert 0.1 < float(video[held:].std()) < 10, name


def test_the_published_ending_holds_frames_as_they_are(studio: Studio, graph: Graph) -> None:
    scene = extended(studio, graph)
    found = studio.run(
        graph, latent=scene.latent, video=scene.sample(steps=3, eta=1.0, ending="published")
    )
    given, video = found["latent"][SAMPLES], found["video"][SAMPLES]
    torch.testing.assert_close(video[:HELD], given[:HELD], atol=1e-5, rtol=1e-5)


def test_every_video_of_a_batch_is_held(studio: Studio, graph: Graph) -> None:
    scene = extended(studio, graph)
    twice = graph.add("RepeatLatentBatch", samples=scene.latent, amount=2)[0]
    stage = advanced(scene, twice, 0, 2)
    found = studio.run(graph, latent=scene.latent, video=advanced(scene, stage, 2, 10000))
    given = found["latent"][SAMPLES][:HELD]
    for video in found["video"][SAMPLES].split(FRAMES):
        torch.testing.assert_close(video[:HELD], given, atol=1e-5, rtol=1e-5)


def test_frames_are_held_after_the_latent_was_saved(studio: Studio, graph: Graph) -> None:
    """A file of a latent keeps neither its mask nor its number of frames."""
    scene = extended(studio, graph)
    stage = advanced(scene, scene.latent, 0, 2)
    found = studio.run(graph, stage=stage, whole=advanced(scene, scene.latent, 0, 10000))
    loaded = studio.latent(graph, found["stage"][SAMPLES])
    rest = studio.run(graph, video=advanced(scene, loaded, 2, 10000))
    assert relative_error(rest["video"][SAMPLES], found["whole"][SAMPLES]) < TOLERANCE


def test_frames_are_held_at_the_size_of_an_upscaled_stage(studio: Studio, graph: Graph) -> None:
    scene = extended(studio, graph)
    options = {"upscale_method": "bilinear", "width": 96, "height": 96, "crop": "disabled"}
    stage = advanced(scene, scene.latent, 0, 2)
    larger, expected = (
        graph.add("LatentUpscale", samples=latent, **options)[0] for latent in (stage, scene.latent)
    )
    found = studio.run(graph, video=advanced(scene, larger, 2, 10000), expected=expected)
    given, video = found["expected"][SAMPLES], found["video"][SAMPLES]
    torch.testing.assert_close(video[:HELD], given[:HELD], atol=1e-4, rtol=1e-4)


def test_a_piece_of_a_stage_with_held_frames_is_refused(studio: Studio, graph: Graph) -> None:
    """Nobody says which frames of the video it has."""
    scene = extended(studio, graph)
    stage = advanced(scene, scene.latent, 0, 2)
    piece = graph.add("LatentFromBatch", samples=stage, batch_index=1, length=2)[0]
    assert "holds places in 1 of 2 frames" in studio.error(graph, advanced(scene, piece, 2, 10000))


def test_a_mask_that_was_taken_off_holds_nothing(studio: Studio, graph: Graph) -> None:
    scene = extended(studio, graph)
    stage = advanced(scene, scene.latent, 0, 2)
    mask = graph.add("SolidMask", value=1.0, width=SIZE, height=SIZE)[0]
    free = graph.add("SetLatentNoiseMask", samples=stage, mask=mask)[0]
    found = studio.run(graph, latent=scene.latent, video=advanced(scene, free, 2, 10000))
    given, video = found["latent"][SAMPLES], found["video"][SAMPLES]
    assert relative_error(video[:HELD], given[:HELD]) > 1e-3


@pytest.mark.parametrize(("value", "differential"), [(0.0, False), (0.5, False), (0.9, True)])
def test_another_mask_in_a_later_stage_is_refused(
    studio: Studio, graph: Graph, value: float, differential: bool
) -> None:
    """The host would hold the noise that the first stage left there.

    Differential diffusion begins every stage with all that is not free.
    """
    scene = Scene(studio, graph)
    if differential:
        scene.model = graph.add("DifferentialDiffusion", model=scene.model, strength=1.0)[0]
    first, guider = studio.noise(graph, unit_noise(1)), scene.guider(cfg=4.0)
    split = graph.add("SplitSigmas", sigmas=scene.scheduler(steps=STEPS), step=2)
    mask = graph.add("SolidMask", value=value, width=SIZE, height=SIZE)[0]
    known_latent = studio.latent(graph, torch.ones(FRAMES, 4, 8, 8), FRAMES)
    masked = graph.add("SetLatentNoiseMask", samples=known_latent, mask=mask)[0]
    stage = scene.sample_custom(first, guider, scene.sampler(), split[0], masked)
    second = scene.sample_custom(scene.no_noise(), guider, scene.sampler(), split[1], stage)
    message = studio.error(graph, second)
    assert f"holds places in {FRAMES} of {FRAMES} frames" in message
    assert "in one stage" in message
