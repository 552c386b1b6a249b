"""Prompt Schedule on the server: a prompt per segment reaches its frames."""

from typing import Any

import pytest
from graphs import Graph, Link
from scene import SIZE, unit_noise
from studio import Animation, Studio, picture, relative_error

pytestmark = pytest.mark.server

TOLERANCE = 1e-4
SAMPLES = "value.samples"
LENGTH = 6


def still(studio: Studio, graph: Graph, prompt: str = "a cloud") -> tuple[Animation, Link]:
    """Prompts and image context of a small checkpoint; and the image."""
    made = Animation(studio, graph, studio.small_checkpoint("512"))
    image = studio.image(graph, picture(SIZE, SIZE))
    return made.text(prompt).context(image), image


def schedule(graph: Graph, made: Animation, prompts: str, **options: Any) -> Link:
    settings = {"length": LENGTH, "blend_frames": 0, **options}
    return graph.add("DynamiCrafterPromptSchedule", clip=made.clip, prompts=prompts, **settings)[0]


def test_one_prompt_in_a_schedule_equals_the_prompt_alone(studio: Studio, graph: Graph) -> None:
    """Text per frame and text per video are two ways through the network."""
    results: dict[str, Any] = {}
    for name in ("scheduled", "plain"):
        made, image = still(studio, graph, "storm")
        if name == "scheduled":
            made.positive = schedule(graph, made, "storm\nstorm\nstorm", blend_frames=3)
            made.context(image)
        made.detail(image, SIZE, SIZE, LENGTH)
        noise = studio.noise(graph, unit_noise(1, frames=LENGTH))
        results[name] = made.sample(steps=2, noise=noise)
    found = studio.run(graph, **results)
    assert relative_error(found["scheduled"][SAMPLES], found["plain"][SAMPLES]) < TOLERANCE


def test_a_schedule_of_another_length_is_explained(studio: Studio, graph: Graph) -> None:
    made, image = still(studio, graph)
    made.positive = schedule(graph, made, "sea\nstorm", length=LENGTH + 1)
    made.context(image).detail(image, SIZE, SIZE, LENGTH)
    message = "schedule has 7 frames, but the video has 6"
    assert message in studio.error(graph, made.sample(steps=1))
