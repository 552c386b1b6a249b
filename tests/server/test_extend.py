"""Extend Video: what the new video is conditioned on, and which inputs are refused."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link, Node
from scene import FRAMES, SIZE, Scene
from studio import Studio, picture
from torch import Tensor

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
OVERLAP = 2


def film(frames: int = FRAMES, size: int = SIZE) -> Tensor:
    """Frames `[T, H, W, 3]`, no two alike."""
    return torch.cat([picture(size, size, phase=0.7 * i) for i in range(frames)])


def extend(scene: Scene, images: Link, samples: Link | None = None, **options: Any) -> Node:
    scene.text("the wind turns").context(scene.picture)
    settings = {"length": FRAMES, "overlap": OVERLAP, "fps": 0, **options}
    return scene.graph.add(
        "DynamiCrafterExtend",
        positive=scene.positive,
        negative=scene.negative,
        image_only=scene.image_only,
        vae=scene.vae,
        images=images,
        samples=samples,
        **settings,
    )


def test_every_frame_is_guided_by_the_videos_last(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    images = studio.image(graph, film())
    node = extend(scene, images, fps=9, length=5)
    outputs: dict[str, Any] = {
        name: node[i] for i, name in enumerate(("positive", "negative", "image_only"))
    }
    encoded = graph.add("VAEEncode", pixels=images, vae=scene.vae)[0]
    found = studio.run(graph, encoded=encoded, latent=node[3], **outputs)
    last = found["encoded"][SAMPLES][-1]
    for name in outputs:
        values = found[name]
        torch.testing.assert_close(
            values["value.0.1.concat_latent_image"], last.expand(5, -1, -1, -1)
        )
        assert int(values["value.0.1.dynamicrafter_num_frames"]) == 5, name
        assert int(values["value.0.1.dynamicrafter_speed"]) == 9, name
    latent = found["latent"]
    torch.testing.assert_close(latent[SAMPLES][:OVERLAP], found["encoded"][SAMPLES][-OVERLAP:])
    held = latent["value.noise_mask"].flatten(1)
    assert not held[:OVERLAP].any() and bool((held[OVERLAP:] == 1).all())


def test_a_whole_video_may_be_shared(studio: Studio, graph: Graph) -> None:
    """Nothing is left before it; the stock node that joins takes that."""
    scene = Scene(studio, graph)
    video = film(OVERLAP)
    images = studio.image(graph, video)
    node = extend(scene, images)
    inputs: dict[str, Any] = {"images.image0": node[4], "images.image1": images}
    joined = graph.add("BatchImagesNode", **inputs)[0]
    found = studio.run(graph, before=node[4], joined=joined)
    assert found["before"]["value"].shape == (0, SIZE, SIZE, 3)
    assert torch.equal(found["joined"]["value"], video)
