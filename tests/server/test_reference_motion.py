"""Reference Motion on the real host: every sampler, stages, videos in one batch, windows."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link
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


def test_strength_0_is_the_plain_run(studio: Studio, graph: Graph) -> None:
    plain, scene = Scene(studio, graph), following(studio, graph, strength=0.0)
    found = studio.run(
        graph,
        plain=ours(plain, "published", 1.0),
        same=ours(scene, "published", 1.0),
        stock=plain.ksampler()[0],
        same_stock=scene.ksampler()[0],
    )
    assert torch.equal(found["same"][SAMPLES], found["plain"][SAMPLES])
    assert torch.equal(found["same_stock"][SAMPLES], found["stock"][SAMPLES])


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
    """Of twice as many frames, each window follows its own part of the reference."""
    frames = torch.cat([rough_video(), rough_video().flip(0)])
    scene = following(studio, graph, frames=frames, strong_timestep=1, scene={"frames": 2 * FRAMES})
    scene.model = graph.add("ContextWindowsManual", model=scene.model, **WINDOWS)[0]
    found = studio.run(
        graph,
        video=scene.ksampler()[0],
        reference=graph.add("VAEEncode", pixels=studio.image(graph, frames), vae=scene.vae)[0],
    )
    assert relative_error(found["video"][SAMPLES], found["reference"][SAMPLES]) < 0.35


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
