"""Prior Guider on the real host: the second model's prediction, on its own schedule."""

import pytest
import torch
from graphs import Graph, Link
from scene import Scene
from studio import Studio, relative_error

pytestmark = pytest.mark.server

SAMPLES = "value.samples"


def prior_of(studio: Studio, graph: Graph, variant: str, seed: int = 0) -> Link:
    """MODEL from a loader of its own."""
    name = studio.small_checkpoint(variant, seed=seed, name="-prior")
    return graph.add(
        "DynamiCrafterCheckpointLoader", ckpt_name=name, variant="auto", weight_dtype="fp32"
    )[0]


def guided(scene: Scene, prior: Link, strength: float, cfg: float = 4.0) -> Link:
    """LATENT of a few Euler steps."""
    return sampled(scene, prior_guider(scene, prior, strength, cfg))


def prior_guider(scene: Scene, prior: Link, strength: float, cfg: float) -> Link:
    return scene.graph.add(
        "DynamiCrafterPriorGuider",
        model=scene.model,
        prior=prior,
        positive=scene.positive,
        negative=scene.negative,
        cfg=cfg,
        guidance_rescale=-1.0,
        prior_strength=strength,
    )[0]


def sampled(scene: Scene, guider: Link) -> Link:
    return scene.sample_custom(
        scene.unit_noise(), guider, scene.sampler(), scene.scheduler(steps=4)
    )


def test_the_model_itself_as_prior_changes_nothing(studio: Studio, graph: Graph) -> None:
    """The same weights from another file; at strength 0 the numbers are the same."""
    scene = Scene(studio, graph)
    twin, other = prior_of(studio, graph, "512"), prior_of(studio, graph, "512", seed=3)
    found = studio.run(
        graph,
        plain=sampled(scene, scene.guider(cfg=4.0)),
        off=guided(scene, other, 0.0),
        twin=guided(scene, twin, 1.0),
        half=guided(scene, twin, 0.5),
        other=guided(scene, other, 1.0),
        one=guided(scene, other, 1.0, cfg=1.0),
        plain_one=sampled(scene, scene.guider(cfg=1.0)),
    )
    plain = found["plain"][SAMPLES]
    assert torch.equal(found["off"][SAMPLES], plain)
    assert torch.equal(found["one"][SAMPLES], found["plain_one"][SAMPLES])
    assert relative_error(found["twin"][SAMPLES], plain) < 1e-5
    assert relative_error(found["half"][SAMPLES], plain) < 1e-5
    assert relative_error(found["other"][SAMPLES], plain) > 0.01


def test_strength_0_is_our_sampler(studio: Studio, graph: Graph) -> None:
    """By the published sampler with fresh noise and rescale."""
    scene = Scene(studio, graph)
    guider = prior_guider(scene, prior_of(studio, graph, "512", seed=3), 0.0, 4.0)
    noise = graph.add("RandomNoise", noise_seed=1)[0]
    ddim = graph.add("DynamiCrafterDDIM", eta=1.0)[0]
    found = studio.run(
        graph,
        ours=scene.sample(steps=4, cfg=4.0, eta=1.0, seed=1, noise=noise),
        off=scene.sample_custom(noise, guider, ddim, scene.scheduler(steps=4)),
    )
    assert relative_error(found["off"][SAMPLES], found["ours"][SAMPLES]) < 1e-5


def test_a_text_model_of_another_schedule_is_a_prior(studio: Studio, graph: Graph) -> None:
    """VideoCrafter 2 predicts noise without zero terminal SNR, and takes no image."""
    scene = Scene(studio, graph)
    found = studio.run(
        graph,
        plain=sampled(scene, scene.guider(cfg=4.0)),
        guided=guided(scene, prior_of(studio, graph, "videocrafter2"), 1.0),
    )
    assert bool(found["guided"][SAMPLES].isfinite().all())
    assert relative_error(found["guided"][SAMPLES], found["plain"][SAMPLES]) > 0.01


def test_the_model_s_own_wire_is_refused(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    assert "prior is the model itself; connect another" in studio.error(
        graph, guided(scene, scene.model, 1.0)
    )
