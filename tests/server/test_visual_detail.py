"""Visual Detail Guidance: where images go, how many, at which size and at which speed."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link
from scene import FRAMES, SIZE, unit_noise
from studio import Animation, Studio, picture, relative_error

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
CONCAT = "value.0.1.concat_latent_image"
CONTEXT = "value.0.1.dynamicrafter_image_context"
CONDITIONINGS = ("positive", "negative", "image_only")


def still(studio: Studio, graph: Graph, variant: str = "512") -> tuple[Animation, Link]:
    """Prompts and image context, and the image."""
    image = studio.image(graph, picture(SIZE, SIZE))
    made = Animation(studio, graph, studio.small_checkpoint(variant))
    return made.text("a cloud", "blurry").context(image), image


def pictures(studio: Studio, graph: Graph, count: int, phase: float = 0.0) -> Link:
    batch = [picture(SIZE, SIZE, phase + i) for i in range(count)]
    return studio.image(graph, torch.cat(batch))


def test_all_three_conditionings_get_the_images_and_keep_their_own_context(
    studio: Studio, graph: Graph
) -> None:
    made, image = still(studio, graph)
    texts = {"plain": made.positive, "no": made.negative}
    made.detail(image, SIZE, SIZE, FRAMES)
    guided: dict[str, Any] = {name: getattr(made, name) for name in CONDITIONINGS}
    found = studio.run(graph, latent=made.latent, **guided, **texts)
    for name in CONDITIONINGS:
        assert torch.equal(found[name][CONCAT], found["positive"][CONCAT])
    assert torch.equal(found["positive"]["value.0.0"], found["plain"]["value.0.0"])
    # The middle term of two-scale guidance: the negative's text beside the real image's tokens.
    assert torch.equal(found["image_only"]["value.0.0"], found["negative"]["value.0.0"])
    assert torch.equal(found["image_only"][CONTEXT], found["positive"][CONTEXT])
    assert torch.equal(found["negative"]["value.0.0"], found["no"]["value.0.0"])
    assert not torch.equal(found["negative"][CONTEXT], found["positive"][CONTEXT])
    assert found["latent"][SAMPLES].shape == (FRAMES, 4, SIZE // 8, SIZE // 8)
    assert not found["latent"][SAMPLES].any()
    assert int(found["latent"]["value.num_frames"]) == FRAMES


@pytest.mark.parametrize(
    ("variant", "mode", "speed"),
    [
        ("512", "animate", 24),
        ("512", "keyframes", 5),
        ("512", "per_frame", 24),
        ("1024", "loop", 5),
        ("toon_512", "loop", 10),
        ("256", "loop", 3),
    ],
)
def test_fps_0_is_the_models_own_for_the_mode(
    studio: Studio, graph: Graph, variant: str, mode: str, speed: int
) -> None:
    def sample(fps: int) -> Link:
        made, image = still(studio, graph, variant)
        if mode == "per_frame":
            image = pictures(studio, graph, FRAMES)
        made.detail(image, SIZE, SIZE, FRAMES, mode=mode, fps=fps)
        noise = studio.noise(graph, unit_noise(1))
        return made.sample(steps=1, cfg=1.0, noise=noise)

    found = studio.run(graph, own=sample(0), stated=sample(speed), other=sample(speed + 1))
    own, stated, other = (found[name][SAMPLES] for name in ("own", "stated", "other"))
    assert torch.equal(own, stated)
    assert not torch.equal(own, other)


def test_keyframes_reach_the_network(studio: Studio, graph: Graph) -> None:
    results: dict[str, Any] = {}
    for name, frames in (("early", (2,)), ("late", (4,)), ("both", (2, 4))):
        made, image = still(studio, graph)
        keyframes: Link | None = None
        for i, frame in enumerate(frames):
            options = {"image": pictures(studio, graph, 1, 1.0 + i), "frame": frame}
            node = graph.add("DynamiCrafterKeyframe", keyframes=keyframes, **options)
            keyframes = node[0]
        made.detail(image, SIZE, SIZE, 6, mode="keyframes", keyframes=keyframes)
        noise = studio.noise(graph, unit_noise(1, frames=6))
        results[name] = made.sample(steps=2, noise=noise)
    found = studio.run(graph, **results)
    assert bool(found["both"][SAMPLES].isfinite().all())
    for other in ("late", "both"):
        assert relative_error(found["early"][SAMPLES], found[other][SAMPLES]) > 0.01
