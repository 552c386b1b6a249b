"""Storyboard: every setting reaches the shots, and wrong shots are refused before filming."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link
from scene import FRAMES, SIZE, shots, storyboard
from studio import Animation, Studio, picture, relative_error
from torch import Tensor

pytestmark = pytest.mark.server

WIDTH, HEIGHT, OVERLAP, FPS = 80, 48, 1, 9
SAMPLING = {"steps": 2, "cfg": 3.0, "eta": 0.5}


SETTINGS = {
    "negative": "fog",
    "width": WIDTH,
    "height": HEIGHT,
    "fit": "pad",
    "overlap": OVERLAP,
    **SAMPLING,
}


def story(
    studio: Studio,
    graph: Graph,
    made: Animation,
    *images: Tensor | None,
    fps: int = FPS,
    **options: Any,
) -> Link:
    """The frames of a storyboard of these images; None is a shot that continues the one before."""
    links = (None if image is None else studio.image(graph, image) for image in images)
    link = shots(graph, *links, fps=fps)
    return storyboard(made, link, **{**SETTINGS, **options})[0]


def decoded(graph: Graph, made: Animation, latent: Link) -> Link:
    return graph.add("VAEDecode", vae=made.vae, samples=latent)[0]


def test_every_setting_reaches_the_shots(studio: Studio, graph: Graph) -> None:
    made = Animation(studio, graph, studio.small_checkpoint("512"))
    image = picture(SIZE, SIZE)
    frames = story(studio, graph, made, image, None)
    start = studio.image(graph, image)
    made.text("scene 0", "fog").context(start)
    made.detail(start, WIDTH, HEIGHT, FRAMES, fps=FPS, fit="pad")
    latent = made.sample(seed=5, **SAMPLING)
    first = decoded(graph, made, latent)
    last = graph.add("ImageFromBatch", image=first, batch_index=FRAMES - 1, length=1)[0]
    made.text("scene 1", "fog").context(last)
    made.extend(first, FRAMES, OVERLAP, FPS, samples=latent)
    second = decoded(graph, made, made.sample(seed=6, **SAMPLING))
    found = studio.run(graph, story=frames, first=first, second=second)
    pieces = found["first"]["value"], found["second"]["value"][OVERLAP:]
    torch.testing.assert_close(found["story"]["value"], torch.cat(pieces), atol=1e-3, rtol=0)


def test_every_segment_leads_to_the_next_image(studio: Studio, graph: Graph) -> None:
    """The segments' prompts and seeds count on; the frame that two share is a blend of both."""
    made = Animation(studio, graph, studio.small_checkpoint("512_interp"))
    pictures = [picture(SIZE, SIZE, phase) for phase in (0.0, 1.0, 2.0)]
    frames = story(studio, graph, made, *pictures, mode="interpolate")
    images = [studio.image(graph, image) for image in pictures]
    segments = {}
    for i in range(2):
        made.text(f"scene {i}", "fog").context(images[i])
        options = {"mode": "interpolate", "end_image": images[i + 1], "fps": FPS, "fit": "pad"}
        made.detail(images[i], WIDTH, HEIGHT, FRAMES, **options)
        segments[f"segment{i}"] = decoded(graph, made, made.sample(seed=5 + i, **SAMPLING))
    found = studio.run(graph, story=frames, **segments)
    video = found["story"]["value"]
    one, two = (found[name]["value"] for name in segments)
    shared = (one[-1:] + two[:1]) / 2
    expected = torch.cat([one[:-1], shared, two[1:]])
    torch.testing.assert_close(video, expected, atol=1e-3, rtol=0)
    assert relative_error(one[-1], two[0]) > 1e-3


def test_one_shot_is_the_whole_story(studio: Studio, graph: Graph) -> None:
    made = Animation(studio, graph, studio.small_checkpoint("512"))
    video = studio.run(graph, v=story(studio, graph, made, picture(SIZE, SIZE)))
    assert video["v"]["value"].shape == (FRAMES, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("widget", "value"),
    [
        *(("cfg", v) for v in (float("nan"), float("inf"), -1.0)),
        *(("eta", v) for v in (float("nan"), -0.5, 1.5)),
        *(("steps", v) for v in (0, -1)),
        *(("overlap", v) for v in (0, -1)),
        *(("width", v) for v in (0, 68)),
        *(("seed", v) for v in (-1, 2**64)),
        ("mode", "dance"),
    ],
    ids=str,
)
def test_values_are_refused_by_name(studio: Studio, graph: Graph, widget: str, value: Any) -> None:
    made = Animation(studio, graph, studio.small_checkpoint("512"))
    frames = story(studio, graph, made, picture(SIZE, SIZE), None, **{widget: value})
    assert widget in studio.error(graph, frames)
