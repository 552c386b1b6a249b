"""Stock samplers and guiders on our MODEL against our own sampler."""

from typing import Any

import pytest
import torch
from graphs import Graph
from scene import FRAMES, SIZE, Scene, small_scene, unit_noise
from studio import Studio, picture, relative_error

from dc_model.variants import VARIANTS

pytestmark = pytest.mark.server

TOLERANCE = 1e-4
SAMPLES = "value.samples"


@pytest.mark.parametrize(
    ("variant", "scheduler", "steps"),
    [
        ("512", "simple", 5),
        ("512", "simple", 8),
        ("1024", "simple", 10),
        ("256", "ddim_uniform", 10),
        ("videocrafter2", "ddim_uniform", 8),
    ],
)
def test_stock_euler_equals_our_sampler(
    studio: Studio, graph: Graph, variant: str, scheduler: str, steps: int
) -> None:
    scene = small_scene(studio, graph, variant)
    stock = scene.stock(cfg=4.0, steps=steps, scheduler=scheduler)
    ours = scene.sample(
        steps=steps, cfg=4.0, eta=0.0, guidance_rescale=0.0, noise=scene.unit_noise()
    )
    results = studio.run(graph, stock=stock, ours=ours)
    assert relative_error(results["ours"][SAMPLES], results["stock"][SAMPLES]) < TOLERANCE


@pytest.mark.parametrize("spacing", ["uniform_trailing", "uniform"])
def test_our_scheduler_gives_the_stock_schedulers_sigmas(
    studio: Studio, graph: Graph, spacing: str
) -> None:
    scene = Scene(studio, graph)
    stock = {"uniform_trailing": "simple", "uniform": "ddim_uniform"}[spacing]
    found = studio.run(
        graph,
        ours=scene.scheduler(steps=10, spacing=spacing),
        stock=scene.sigmas(10, stock),
    )
    torch.testing.assert_close(found["ours"]["value"], found["stock"]["value"], rtol=1e-6, atol=0)


def test_ksampler_equals_our_sampler_with_the_same_noise(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    noise = graph.add("RandomNoise", noise_seed=7)[0]
    ours = scene.sample(steps=5, cfg=3.0, eta=0.0, guidance_rescale=0.0, noise=noise)
    results = studio.run(graph, stock=scene.ksampler(seed=7)[0], ours=ours)
    assert relative_error(results["ours"][SAMPLES], results["stock"][SAMPLES]) < TOLERANCE


@pytest.mark.parametrize(
    ("sampler", "ending"), [("euler", "clean"), ("ddim", "clean"), ("ddim", "published")]
)
def test_two_stages_equal_one(studio: Studio, graph: Graph, sampler: str, ending: str) -> None:
    scene = Scene(studio, graph)
    ddim = graph.add("DynamiCrafterDDIM", eta=0.0)[0]
    chosen = ddim if sampler == "ddim" else scene.sampler()
    sigmas = scene.scheduler(steps=6, ending=ending)
    split = graph.add("SplitSigmas", sigmas=sigmas, step=3)
    guider = scene.guider(cfg=4.0)
    whole = scene.sample_custom(scene.unit_noise(), guider, chosen, sigmas)
    first = scene.sample_custom(scene.unit_noise(), guider, chosen, split[0])
    second = scene.sample_custom(scene.no_noise(), guider, chosen, split[1], first)
    results = studio.run(graph, whole=whole, second=second)
    assert relative_error(results["second"][SAMPLES], results["whole"][SAMPLES]) < TOLERANCE


def test_a_batch_of_two_videos_equals_two_runs(studio: Studio, graph: Graph) -> None:
    images = [picture(SIZE, SIZE, phase) for phase in (0.0, 2.0)]
    noises = [unit_noise(seed) for seed in (1, 2)]
    options = {"steps": 3, "cfg": 6.0, "image_cfg": 3.0, "ending": "published"}

    def sample(image: torch.Tensor, noise: torch.Tensor) -> Any:
        scene = Scene(studio, graph, image=image)
        given = studio.noise(graph, noise)
        return scene.sample(noise=given, image_only=scene.image_only, **options)

    both = sample(torch.cat(images), torch.cat(noises))
    one, two = (sample(*pair) for pair in zip(images, noises, strict=True))
    results = studio.run(graph, both=both, one=one, two=two)
    single = [results[name][SAMPLES] for name in ("one", "two")]
    found = results["both"][SAMPLES]
    assert int(results["both"]["value.num_frames"]) == FRAMES
    for video, expected in zip(found.split(FRAMES), single, strict=True):
        assert relative_error(video, expected) < TOLERANCE
    assert relative_error(single[0], single[1]) > 0.1


@pytest.mark.parametrize(("cfg", "image_cfg"), [(6.0, 2.0), (3.0, 3.0), (5.0, 1.0)])
def test_dual_cfg_guider_equals_our_guider_without_rescale(
    studio: Studio, graph: Graph, cfg: float, image_cfg: float
) -> None:
    scene = Scene(studio, graph)
    stock = graph.add(
        "DualCFGGuider",
        model=scene.model,
        cond1=scene.positive,
        cond2=scene.image_only,
        negative=scene.negative,
        cfg_conds=cfg,
        cfg_cond2_negative=image_cfg,
        style="regular",
    )[0]
    ours = scene.guider(
        cfg=cfg, image_cfg=image_cfg, guidance_rescale=0.0, image_only=scene.image_only
    )
    sigmas = scene.sigmas(4)
    by_stock, by_ours = (
        scene.sample_custom(scene.unit_noise(), guider, scene.sampler(), sigmas)
        for guider in (stock, ours)
    )
    results = studio.run(graph, stock=by_stock, ours=by_ours)
    assert relative_error(results["ours"][SAMPLES], results["stock"][SAMPLES]) < TOLERANCE


def test_rescale_changes_the_contrast_of_our_guider(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    plain, tamed = (
        scene.sample(steps=1, cfg=12.0, guidance_rescale=rescale, noise=scene.unit_noise())
        for rescale in (0.0, 1.0)
    )
    conditional = scene.sample(steps=1, cfg=1.0, noise=scene.unit_noise())
    results = studio.run(graph, plain=plain, tamed=tamed, conditional=conditional)
    # From pure noise at zero terminal SNR the network's output is the clean latent, negated: its
    # standard deviation after a full rescale is that of the conditional one.
    deviations = {name: float(found[SAMPLES].std()) for name, found in results.items()}
    assert deviations["tamed"] == pytest.approx(deviations["conditional"], rel=1e-3)
    assert abs(deviations["plain"] - deviations["conditional"]) > 0.01 * deviations["conditional"]


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_no_run_gives_nan(studio: Studio, graph: Graph, variant: str) -> None:
    scene = small_scene(studio, graph, variant)
    outputs = {
        f"{ending}{eta}{steps}": scene.sample(steps=steps, eta=eta, ending=ending, seed=steps)
        for ending in ("clean", "published")
        for eta, steps in ((0.0, 1), (1.0, 4))
    }
    for name, found in studio.run(graph, **outputs).items():
        samples = found[SAMPLES]
        assert samples.shape == (FRAMES, 4, SIZE // 8, SIZE // 8), name
        assert samples.isfinite().all(), name
        assert 0.1 < float(samples.std()) < 1000, (name, float(samples.std()))
