"""Reference Motion on the real host: every sampler, stages, videos in one batch, windows."""

from typing import Any

import pytest
import torch
from events import listen
from graphs import Graph, Link
from holding import interrupted
from scene import FRAMES, SIZE, WINDOWS, Scene, unit_noise
from studio import Studio, picture, relative_error

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
TOLERANCE = 1e-4


def rough_video() -> torch.Tensor:
    return torch.cat([picture(SIZE, SIZE, 0.9 * i) for i in range(FRAMES)])


def mask_of(studio: Studio, graph: Graph, columns: slice) -> Link:
    """MASK, white in these columns."""
    image = torch.zeros(1, SIZE, SIZE, 3)
    image[:, :, columns] = 1
    link = studio.image(graph, image)
    return graph.add("ImageToMask", image=link, channel="red")[0]


def following(studio: Studio, graph: Graph, **options: Any) -> Scene:
    """A scene whose model follows a rough video."""
    scene = Scene(studio, graph, **options.pop("scene", {}))
    settings = {
        "vae": scene.vae,
        "reference": studio.image(graph, options.pop("frames", rough_video())),
        "weak_timestep": 800,
        "strong_timestep": 400,
        "strength": 1.0,
        **options,
    }
    scene.model = graph.add("DynamiCrafterReferenceMotion", model=scene.model, **settings)[0]
    return scene


def encoded(studio: Studio, scene: Scene) -> Link:
    frames = studio.image(scene.graph, rough_video())
    return scene.graph.add("VAEEncode", pixels=frames, vae=scene.vae)[0]


def ours(scene: Scene, ending: str = "clean", eta: float = 0.0, **options: Any) -> Link:
    return scene.sample(
        steps=5,
        cfg=3.0,
        eta=eta,
        guidance_rescale=0.0,
        ending=ending,
        noise=scene.unit_noise(),
        **options,
    )


def custom(scene: Scene, *cuts: int) -> Link:
    """SamplerCustomAdvanced with stock nodes on the same noise levels, in stages."""
    graph, guider, sampler = scene.graph, scene.cfg_guider(), scene.sampler()
    sigmas, noise, latent, done = scene.scheduler(steps=5), scene.unit_noise(), scene.latent, 0
    for cut in cuts:
        split = graph.add("SplitSigmas", sigmas=sigmas, step=cut - done)
        latent = scene.sample_custom(noise, guider, sampler, split[0], latent)
        noise, sigmas, done = scene.no_noise(), split[1], cut
    return scene.sample_custom(noise, guider, sampler, sigmas, latent)


def by_every_sampler(scene: Scene) -> dict[str, Link]:
    """LATENTs of Sampler, KSampler, SamplerCustomAdvanced."""
    return {
        "ours": ours(scene, "published", 1.0),
        "ksampler": scene.ksampler()[0],
        "custom": custom(scene),
    }


def test_strength_0_is_the_plain_run(studio: Studio, graph: Graph) -> None:
    """So is the dial at 0."""
    plain, scene = Scene(studio, graph), following(studio, graph, strength=0.0)
    dialled = Scene(studio, graph)
    dial = {"motion": 0.0, "means": "all"}
    dialled.model = graph.add("DynamiCrafterMotionAmount", model=dialled.model, **dial)[0]
    made = {"plain": plain, "scene": scene, "dialled": dialled}
    links = {f"{n} {kind}": k for n, s in made.items() for kind, k in by_every_sampler(s).items()}
    found = studio.run(graph, **links)
    for name in ("scene", "dialled"):
        for kind in ("ours", "ksampler", "custom"):
            same, expected = found[f"{name} {kind}"], found[f"plain {kind}"]
            assert torch.equal(same[SAMPLES], expected[SAMPLES]), (name, kind)


def test_ksampler_is_the_custom_sampler(studio: Studio, graph: Graph) -> None:
    """With a reference and with the dial; so it agrees with ours, as the next test shows."""
    left = mask_of(studio, graph, slice(0, SIZE // 2))
    scene = following(studio, graph, mask=left)
    dial = {"motion": 1.0, "means": "lambda"}
    scene.model = graph.add("DynamiCrafterMotionAmount", model=scene.model, **dial)[0]
    noise = graph.add("RandomNoise", noise_seed=1)[0]
    stock = scene.sample_custom(noise, scene.cfg_guider(), scene.sampler(), scene.sigmas())
    advanced = graph.add(
        "KSamplerAdvanced",
        **{"model": scene.model, "positive": scene.positive, "negative": scene.negative},
        **{"latent_image": scene.latent, "add_noise": "enable", "noise_seed": 1, "steps": 5},
        **{"cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "start_at_step": 0},
        **{"end_at_step": 10000, "return_with_leftover_noise": "disable"},
    )[0]
    found = studio.run(graph, k=scene.ksampler()[0], custom=stock, advanced=advanced)
    expected = found.pop("custom")[SAMPLES]
    for latent in found.values():
        assert relative_error(latent[SAMPLES], expected) < TOLERANCE


@pytest.mark.parametrize("variant", ["512", "256"])
def test_samplers_and_stages_agree(studio: Studio, graph: Graph, variant: str) -> None:
    left = mask_of(studio, graph, slice(0, SIZE // 2))
    scene = following(studio, graph, mask=left, scene={"variant": variant})
    plain = Scene(studio, graph, variant)
    found = studio.run(
        graph,
        ours=ours(scene),
        custom=custom(scene),
        plain=custom(plain),
        first=custom(scene, 1),
        three=custom(scene, 2, 4),
    )
    expected = found.pop("ours")[SAMPLES]
    assert relative_error(found.pop("plain")[SAMPLES], expected) > 0.05
    for name, latent in found.items():
        assert relative_error(latent[SAMPLES], expected) < TOLERANCE, name


def test_what_may_not_move_stays_under_every_sampler(studio: Studio, graph: Graph) -> None:
    right = mask_of(studio, graph, slice(SIZE // 2, SIZE))
    options: dict[str, Any] = {"may_move": right, "soft_border": 8}
    scene = following(studio, graph, **options)
    still = following(studio, graph, frames=rough_video()[:1], **options)
    found = studio.run(
        graph,
        reference=encoded(studio, scene),
        ours=ours(scene, "published", 1.0),
        ksampler=scene.ksampler(sampler_name="dpmpp_2m_sde", scheduler="karras")[0],
        still=ours(still),
    )
    kept = found.pop("reference")[SAMPLES][..., : SIZE // 16]
    for name, latent in found.items():
        expected = kept[:1].expand_as(kept) if name == "still" else kept
        video = latent[SAMPLES]
        torch.testing.assert_close(video[..., : SIZE // 16], expected, atol=1e-5, rtol=1e-5)
        assert bool(video.isfinite().all())


def test_the_picture_laid_over_what_is_held_is_exact(studio: Studio, graph: Graph) -> None:
    """As in the workflow Move one region: the decoder's loss stays where the video may move."""
    right = mask_of(studio, graph, slice(SIZE // 2, SIZE))
    scene = Scene(studio, graph)
    following = graph.add(
        "DynamiCrafterReferenceMotion",
        **{"model": scene.model, "vae": scene.vae, "reference": scene.picture},
        **{"weak_timestep": 940, "strong_timestep": 860, "strength": 1.0},
        **{"may_move": right, "soft_border": 8},
    )
    scene.model = following[0]
    decoded = graph.add("VAEDecode", samples=ours(scene), vae=scene.vae)[0]
    whole = graph.add(
        "ImageCompositeMasked",
        **{"destination": decoded, "source": scene.picture, "mask": following[1]},
        **{"x": 0, "y": 0, "resize_source": True},
    )[0]
    found = studio.run(graph, picture=scene.picture, decoded=decoded, whole=whole)
    picture, plain, over = (found[name]["value"] for name in ("picture", "decoded", "whole"))
    still, moving = slice(0, SIZE // 2), slice(SIZE // 2 + 8, SIZE)
    assert torch.equal(over[:, :, still], picture[:, :, still].expand(FRAMES, -1, -1, -1))
    assert float((plain - picture)[:, :, still].abs().max()) > 0.01
    torch.testing.assert_close(over[:, :, moving], plain[:, :, moving], atol=1e-6, rtol=0)


def test_each_video_of_a_batch_follows_it(studio: Studio, graph: Graph) -> None:
    one = following(studio, graph)
    two = following(studio, graph, scene={"batch_size": 2})
    noise = studio.noise(graph, torch.cat([unit_noise(5), unit_noise(0)]))
    found = studio.run(
        graph,
        one=ours(one),
        two=two.sample(steps=5, cfg=3.0, eta=0.0, guidance_rescale=0.0, noise=noise),
    )
    assert relative_error(found["two"][SAMPLES][FRAMES:], found["one"][SAMPLES]) < TOLERANCE


def test_windows_follow_their_frames(studio: Studio, graph: Graph) -> None:
    """Each window is what a video of its own frames, noise and reference would be."""
    frames = torch.cat([rough_video(), rough_video().flip(0)])
    noise = unit_noise(5, frames=2 * FRAMES)

    def video(part: slice, windows: bool = False) -> Link:
        own = frames[part]
        scene = following(studio, graph, frames=own, scene={"frames": len(own)})
        if windows:
            scene.model = graph.add("ContextWindowsManual", model=scene.model, **WINDOWS)[0]
        guider, sigmas = scene.cfg_guider(), scene.scheduler(steps=5)
        own_noise = studio.noise(graph, noise[part])
        return scene.sample_custom(own_noise, guider, scene.sampler(), sigmas)

    first, second = slice(0, FRAMES), slice(FRAMES, None)
    links = {"whole": video(slice(None), windows=True), "a": video(first), "b": video(second)}
    found = {name: latent[SAMPLES] for name, latent in studio.run(graph, **links).items()}
    expected = torch.cat([found["a"], found["b"]])
    assert relative_error(found["whole"], expected) < TOLERANCE


def test_previews_and_progress_count_the_steps_that_are_skipped(
    studio: Studio, graph: Graph
) -> None:
    scene = following(studio, graph)
    latents = [ours(scene), scene.ksampler(seed=77)[0]]
    for i, link in enumerate(latents):
        graph.add("TestSave", value=link, name=f"following-{i}")
    told = listen(studio.server, graph.prompt, "latent2rgb")
    assert told.ending == "execution_success"
    # Three of five steps start above 400, where all is the noised reference.
    for link in latents:
        steps = [(value, most) for node, value, most in told.progress if node == link[0]]
        assert steps[-2:] == [(4, 5), (5, 5)]
    assert len(told.previews) == 4
    assert all(float(p.std()) > 0.01 for p in told.previews)


def test_an_interrupt_ends_the_model_call_it_meets(studio: Studio, graph: Graph) -> None:
    before = studio.run(graph, video=ours(following(studio, graph)))["video"][SAMPLES]
    interrupted(following(studio, Graph()), ours, call=2)
    again = following(studio, Graph())
    after = studio.run(again.graph, video=ours(again))["video"][SAMPLES]
    assert torch.equal(after, before)


def test_a_reference_of_another_length_is_refused(studio: Studio, graph: Graph) -> None:
    scene = following(studio, graph, frames=rough_video()[:3])
    assert "The reference has 3 frames, the video 4" in studio.error(graph, scene.ksampler()[0])


def test_a_drawn_path_and_a_camera_reach_the_sampler(studio: Studio, graph: Graph) -> None:
    """From the picture to the video through the nodes that make references."""
    scene = Scene(studio, graph)
    size = {"width": SIZE, "height": SIZE, "length": FRAMES}
    corner = mask_of(studio, graph, slice(8, 24))
    dragged = graph.add(
        "DynamiCrafterDragMotion", image=scene.picture, mask=corner, path="48, 32", **size
    )
    filmed = graph.add(
        "DynamiCrafterCameraMotion",
        image=scene.picture,
        move="pan_right",
        amount=0.25,
        path="",
        **size,
    )
    plain, videos = scene.model, {}
    for name, made in {"dragged": dragged, "filmed": filmed}.items():
        scene.model = graph.add(
            "DynamiCrafterReferenceMotion",
            model=plain,
            vae=scene.vae,
            reference=made[0],
            mask=made[1],
            weak_timestep=800,
            strong_timestep=400,
            strength=1.0,
        )[0]
        videos[name] = ours(scene)
    found = studio.run(graph, **videos, preview=dragged[2], mask=filmed[1])
    assert found["preview"]["value"].shape == (1, SIZE, SIZE, 3)
    assert found["mask"]["value"].shape == (FRAMES, SIZE, SIZE)
    assert relative_error(found["dragged"][SAMPLES], found["filmed"][SAMPLES]) > 0.05
