"""Across Motion Amount and Prior Guider: samplers, batches, windows, previews and interrupts.

Reference Motion has the same in its own file.
"""

from collections.abc import Callable

import pytest
import torch
from events import listen
from graphs import Graph, Link
from holding import interrupted
from scene import FRAMES, WINDOWS, Scene, unit_noise
from studio import Studio, relative_error

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
TOLERANCE = 1e-4
STEPS = 4

# Puts the node into a scene; returns the GUIDER.
Put = Callable[[Studio, Scene], Link]


def dialled(_studio: Studio, scene: Scene) -> Link:
    """By lambda, which is the dial's part inside the model."""
    given = {"model": scene.model, "motion": 1.0, "means": "lambda"}
    scene.model = scene.graph.add("DynamiCrafterMotionAmount", **given)[0]
    return scene.cfg_guider()


def with_prior(studio: Studio, scene: Scene) -> Link:
    """Of other weights, mixed with the model's own prediction."""
    name = studio.small_checkpoint("512", seed=3, name="-prior")
    given = {"ckpt_name": name, "variant": "auto", "weight_dtype": "fp32"}
    prior = scene.graph.add("DynamiCrafterCheckpointLoader", **given)[0]
    return scene.graph.add(
        "DynamiCrafterPriorGuider",
        **{"model": scene.model, "prior": prior, "prior_strength": 0.5},
        **{"positive": scene.positive, "negative": scene.negative},
        **{"cfg": 3.0, "guidance_rescale": 0.0},
    )[0]


NODES = pytest.mark.parametrize("put", [dialled, with_prior])


def sampled(
    studio: Studio, scene: Scene, put: Put, noise: Link, sampler: Link | None = None
) -> Link:
    guider = put(studio, scene)
    sigmas = scene.scheduler(steps=STEPS)
    return scene.sample_custom(noise, guider, sampler or scene.sampler(), sigmas)


def ours(studio: Studio, scene: Scene, put: Put) -> Link:
    """By the Sampler for a MODEL, by its method for a GUIDER."""
    if put is dialled:
        put(studio, scene)
        settings = {"steps": STEPS, "cfg": 3.0, "eta": 0.0, "guidance_rescale": 0.0}
        return scene.sample(**settings, ending="clean", noise=scene.unit_noise())
    ddim = scene.graph.add("DynamiCrafterDDIM", eta=0.0)[0]
    return sampled(studio, scene, put, scene.unit_noise(), ddim)


@NODES
def test_ours_and_the_stock_sampler_agree(studio: Studio, graph: Graph, put: Put) -> None:
    scene = Scene(studio, graph)
    plain = scene.sample_custom(
        scene.unit_noise(), scene.cfg_guider(), scene.sampler(), scene.scheduler(steps=STEPS)
    )
    found = studio.run(
        graph,
        plain=plain,
        stock=sampled(studio, Scene(studio, graph), put, scene.unit_noise()),
        ours=ours(studio, Scene(studio, graph), put),
    )
    expected = found["ours"][SAMPLES]
    assert relative_error(found["stock"][SAMPLES], expected) < TOLERANCE
    assert relative_error(found["plain"][SAMPLES], expected) > 0.002


@NODES
def test_each_video_of_a_batch_is_its_own(studio: Studio, graph: Graph, put: Put) -> None:
    one, two = Scene(studio, graph), Scene(studio, graph, batch_size=2)
    both = studio.noise(graph, torch.cat([unit_noise(5), unit_noise(0)]))
    found = studio.run(
        graph,
        one=sampled(studio, one, put, one.unit_noise()),
        two=sampled(studio, two, put, both),
    )
    assert relative_error(found["two"][SAMPLES][FRAMES:], found["one"][SAMPLES]) < TOLERANCE


@NODES
def test_a_window_is_a_video_of_its_own(studio: Studio, graph: Graph, put: Put) -> None:
    noise = unit_noise(5, frames=2 * FRAMES)

    def video(part: slice, windows: bool = False) -> Link:
        own = noise[part]
        scene = Scene(studio, graph, frames=len(own))
        if windows:
            scene.model = graph.add("ContextWindowsManual", model=scene.model, **WINDOWS)[0]
        return sampled(studio, scene, put, studio.noise(graph, own))

    first, second = slice(0, FRAMES), slice(FRAMES, None)
    links = {"whole": video(slice(None), windows=True), "a": video(first), "b": video(second)}
    found = {name: latent[SAMPLES] for name, latent in studio.run(graph, **links).items()}
    expected = torch.cat([found["a"], found["b"]])
    assert relative_error(found["whole"], expected) < TOLERANCE


@NODES
def test_previews_and_progress_come_with_each_step(studio: Studio, graph: Graph, put: Put) -> None:
    scene = Scene(studio, graph)
    noise = studio.noise(graph, unit_noise(61))  # No other test's: nothing comes from the cache.
    link = sampled(studio, scene, put, noise)
    graph.add("TestSave", value=link, name=f"previewed-{put.__name__}")
    told = listen(studio.server, graph.prompt, "latent2rgb")
    assert told.ending == "execution_success"
    steps = [(value, most) for node, value, most in told.progress if node == link[0]]
    assert steps[-STEPS:] == [(i, STEPS) for i in range(1, STEPS + 1)]
    assert len(told.previews) == STEPS
    assert all(float(p.std()) > 0.01 for p in told.previews)


@NODES
def test_an_interrupt_ends_the_model_call_it_meets(studio: Studio, graph: Graph, put: Put) -> None:
    def video(scene: Scene) -> Link:
        return sampled(studio, scene, put, scene.unit_noise())

    before = studio.run(graph, video=video(Scene(studio, graph)))["video"][SAMPLES]
    interrupted(Scene(studio, Graph()), video, call=2)
    again = Scene(studio, Graph())
    after = studio.run(again.graph, video=video(again))["video"][SAMPLES]
    assert torch.equal(after, before)
