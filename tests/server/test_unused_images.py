"""An image that the mode does not look at is told in the log."""

from typing import Any

import pytest
from graphs import Graph
from scene import FRAMES, SIZE
from studio import Animation, Studio, picture

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    ("mode", "unused"),
    [
        ("animate", {"end_image", "keyframes"}),
        ("interpolate", {"keyframes"}),
        ("keyframes", {"end_image"}),
    ],
)
def test_the_log_names_the_input(studio: Studio, graph: Graph, mode: str, unused: set[str]) -> None:
    image = studio.image(graph, picture(SIZE, SIZE))
    inputs: dict[str, Any] = {
        "end_image": image,
        "keyframes": graph.add("DynamiCrafterKeyframe", image=image, frame=2)[0],
    }
    before = len(studio.server.log)
    made = Animation(studio, graph, studio.small_checkpoint("512")).text("a cloud")
    made.detail(image, SIZE, SIZE, FRAMES, mode=mode, **inputs)
    studio.run(graph, latent=made.latent)
    told = studio.server.log[before:]
    for name in inputs:
        assert (f"{name} is connected, but mode {mode}" in told) == (name in unused), name
