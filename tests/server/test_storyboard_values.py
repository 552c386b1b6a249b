"""Longer stories: extended videos, pinned frames and storyboards, by value."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link, Node
from scene import FRAMES, SIZE, Scene, shots, storyboard
from studio import Animation, Studio, picture, relative_error

pytestmark = pytest.mark.server

TOLERANCE = 1e-4
SAMPLES = "value.samples"
OVERLAP = 2
SAMPLING = {"steps": 2, "cfg": 3.0, "eta": 1.0}
STORY = {"overlap": OVERLAP, **SAMPLING}


def extend(
    made: Animation,
    images: Link,
    last_frame: Link,
    samples: Link | None = None,
    *,
    prompt: str = "the wind turns",
    **options: Any,
) -> Node:
    """The Extend node; `made` carries on with its conditionings and latent."""
    made.text(prompt).context(last_frame)
    settings = {"length": FRAMES, "overlap": OVERLAP, "fps": 0, **options}
    node = made.graph.add(
        "DynamiCrafterExtend",
        positive=made.positive,
        negative=made.negative,
        image_only=made.image_only,
        vae=made.vae,
        images=images,
        samples=samples,
        **settings,
    )
    made.positive, made.negative, made.image_only, made.latent = (node[i] for i in range(4))
    return node


def batch(graph: Graph, *images: Link) -> Link:
    """The stock node that puts image batches one after the other."""
    inputs: dict[str, Any] = {f"images.image{i}": image for i, image in enumerate(images)}
    return graph.add("BatchImagesNode", **inputs)[0]


@pytest.mark.parametrize("by_latent", [True, False], ids=["latent", "images"])
def test_an_extended_video_starts_with_its_sources_end(
    studio: Studio, graph: Graph, by_latent: bool
) -> None:
    scene = Scene(studio, graph)
    source = scene.sample(**SAMPLING)
    decoded = scene.decode(source)
    node = extend(scene, decoded[0], decoded[1], source if by_latent else None)
    latent = scene.sample(seed=2, **SAMPLING)
    again = graph.add("VAEEncode", pixels=decoded[0], vae=scene.vae)[0]
    images = scene.decode(latent)[0]
    found = studio.run(
        graph,
        source=source,
        latent=latent,
        before=node[4],
        images=images,
        joined=batch(graph, node[4], images),
        frames=decoded[0],
        round_trip=scene.decode(again)[0],
        through_vae=again,
    )
    kept = found["source" if by_latent else "through_vae"][SAMPLES][-OVERLAP:]
    torch.testing.assert_close(found["latent"][SAMPLES][:OVERLAP], kept, atol=1e-4, rtol=1e-4)
    frames, new = found["frames"]["value"], found["images"]["value"]
    expected = frames if by_latent else found["round_trip"]["value"]
    torch.testing.assert_close(new[:OVERLAP], expected[-OVERLAP:], atol=1e-3, rtol=0)
    assert torch.equal(found["before"]["value"], frames[:-OVERLAP])
    joined = found["joined"]["value"]
    assert joined.shape[0] == 2 * FRAMES - OVERLAP
    steps = joined.diff(dim=0).abs().mean(dim=(1, 2, 3))
    assert float(steps.min()) > 1e-3, "a frame is doubled"


def test_extend_and_stock_samplers(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    source = scene.sample(**SAMPLING)
    decoded = scene.decode(source)
    extend(scene, decoded[0], decoded[1], source)
    found = studio.run(
        graph, source=source, latent=scene.ksampler(sampler_name="dpmpp_2m", steps=3)[0]
    )
    kept = found["source"][SAMPLES][-OVERLAP:]
    torch.testing.assert_close(found["latent"][SAMPLES][:OVERLAP], kept, atol=1e-4, rtol=1e-4)


def pin(graph: Graph, scene: Animation, frames: str = "first") -> None:
    scene.model = graph.add("DynamiCrafterPinFirstFrame", model=scene.model, frames=frames)[0]


@pytest.mark.parametrize("ending", ["clean", "published"])
def test_the_pinned_first_frame_is_the_image(studio: Studio, graph: Graph, ending: str) -> None:
    scene = Scene(studio, graph)
    free = scene.sample(ending=ending, **SAMPLING)
    pin(graph, scene)
    pinned = scene.sample(ending=ending, **SAMPLING)
    encoded = graph.add("VAEEncode", pixels=scene.picture, vae=scene.vae)[0]
    found = studio.run(
        graph,
        free=free,
        pinned=pinned,
        encoded=encoded,
        stock=scene.ksampler(sampler_name="euler_ancestral", steps=3)[0],
        images=scene.decode(pinned)[0],
        round_trip=graph.add("VAEDecode", samples=encoded, vae=scene.vae)[0],
    )
    image = found["encoded"][SAMPLES][0]
    assert relative_error(found["free"][SAMPLES][0], image) > 0.05
    for name in ("pinned", "stock"):
        torch.testing.assert_close(found[name][SAMPLES][0], image, atol=1e-4, rtol=1e-4)
    first, expected = found["images"]["value"][0], found["round_trip"]["value"][0]
    torch.testing.assert_close(first, expected, atol=1e-3, rtol=0)
    # The other frames are sampled, and they see the held one.
    rest, other = found["pinned"][SAMPLES][1:], found["free"][SAMPLES][1:]
    assert relative_error(rest, other) > 1e-3


def test_given_pins_every_image_of_every_video(studio: Studio, graph: Graph) -> None:
    images = torch.cat([picture(SIZE, SIZE, phase) for phase in (0.0, 1.0, 2.0, 3.0)])
    first, last = (studio.image(graph, images[i : i + 2]) for i in (0, 2))
    made = Animation(studio, graph, studio.small_checkpoint("512_interp"))
    made.text("a cloud").context(first)
    made.detail(first, SIZE, SIZE, FRAMES, mode="interpolate", end_image=last)
    pin(graph, made, "given")
    encoded = graph.add("VAEEncode", pixels=studio.image(graph, images), vae=made.vae)[0]
    found = studio.run(graph, latent=made.sample(**SAMPLING), encoded=encoded)
    latent, expected = found["latent"][SAMPLES], found["encoded"][SAMPLES]
    ends = latent.unflatten(0, (2, FRAMES))[:, [0, -1]].transpose(0, 1).flatten(0, 1)
    torch.testing.assert_close(ends, expected, atol=1e-4, rtol=1e-4)
    assert relative_error(latent[1], expected[0]) > 0.05


def test_a_pinned_model_leaves_an_extended_videos_start(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    source = scene.sample(**SAMPLING)
    decoded = scene.decode(source)
    extend(scene, decoded[0], decoded[1], source)
    pin(graph, scene)
    found = studio.run(graph, source=source, latent=scene.sample(**SAMPLING))
    kept = found["source"][SAMPLES][-OVERLAP:]
    torch.testing.assert_close(found["latent"][SAMPLES][:OVERLAP], kept, atol=1e-4, rtol=1e-4)


def test_text_to_video_models_have_no_frame_to_pin(studio: Studio, graph: Graph) -> None:
    made = Animation(studio, graph, studio.small_checkpoint("videocrafter2"))
    pin(graph, made)
    assert "takes no image" in studio.error(graph, made.model)


def test_a_storyboard_is_its_shots_one_after_the_other(studio: Studio, graph: Graph) -> None:
    """A shot, its continuation, and a cut: the frames that the single nodes give."""
    made = Animation(studio, graph, studio.small_checkpoint("512"))
    images = [studio.image(graph, picture(SIZE, SIZE, phase)) for phase in (0.0, 2.0)]
    story = storyboard(made, shots(graph, images[0], None, images[1]), **STORY)

    def single(index: int, image: Link) -> tuple[Link, Node]:
        made.text(f"scene {index}").context(image).detail(image, SIZE, SIZE, FRAMES)
        latent = made.sample(seed=5 + index, **SAMPLING)
        return latent, made.decode(latent)

    latent, first = single(0, images[0])
    extend(made, first[0], first[1], latent, prompt="scene 1")
    second = made.decode(made.sample(seed=6, **SAMPLING))
    _, third = single(2, images[1])
    found = studio.run(
        graph, story=story[0], last=story[1], first=first[0], second=second[0], third=third[0]
    )
    pieces = [found[name]["value"] for name in ("first", "second", "third")]
    expected = torch.cat([pieces[0], pieces[1][OVERLAP:], pieces[2]])
    torch.testing.assert_close(found["story"]["value"], expected, atol=1e-3, rtol=0)
    assert torch.equal(found["last"]["value"], found["story"]["value"][-1:])


def test_a_chain_of_keyframes_doubles_no_frame(studio: Studio, graph: Graph) -> None:
    made = Animation(studio, graph, studio.small_checkpoint("512_interp"))
    pin(graph, made, "given")
    pictures = torch.cat([picture(SIZE, SIZE, phase) for phase in (0.0, 1.0, 2.0)])
    images = [studio.image(graph, pictures[i : i + 1]) for i in range(3)]
    story = storyboard(made, shots(graph, *images), **STORY, mode="interpolate")
    encoded = graph.add("VAEEncode", pixels=studio.image(graph, pictures), vae=made.vae)[0]
    round_trip = graph.add("VAEDecode", samples=encoded, vae=made.vae)[0]
    found = studio.run(graph, story=story[0], keyframes=round_trip)
    video, keyframes = found["story"]["value"], found["keyframes"]["value"]
    assert video.shape[0] == 2 * FRAMES - 1
    positions = [0, FRAMES - 1, 2 * FRAMES - 2]
    torch.testing.assert_close(video[positions], keyframes, atol=1e-3, rtol=0)
    steps = video.diff(dim=0).abs().mean(dim=(1, 2, 3))
    assert float(steps.min()) > 1e-3, "a frame is doubled"


def test_tooncrafters_decoder_sees_the_images_at_both_ends(studio: Studio, graph: Graph) -> None:
    made = Animation(studio, graph, studio.small_checkpoint("toon_512"))
    first, last = (studio.image(graph, picture(SIZE, SIZE, phase)) for phase in (0.0, 1.0))
    story = storyboard(made, shots(graph, first, last), **STORY, mode="interpolate")
    made.text("scene 0").context(first)
    made.detail(first, SIZE, SIZE, FRAMES, mode="interpolate", end_image=last)
    latent = made.sample(seed=5, **SAMPLING)
    single = made.decode(latent, first_image=first, last_image=last)
    plain = made.decode(latent)
    found = studio.run(graph, story=story[0], single=single[0], plain=plain[0])
    expected = found["single"]["value"]
    torch.testing.assert_close(found["story"]["value"], expected, atol=1e-4, rtol=0)
    assert relative_error(found["plain"]["value"], expected) > 0.01
