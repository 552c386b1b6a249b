"""Context windows that overlap wholly would never move on: said before the model is loaded."""

import pytest
from graphs import Graph, Link
from scene import FRAMES, SIZE, WINDOWS
from studio import Animation, Studio, picture

pytestmark = pytest.mark.server

LENGTH = 6


def sample(studio: Studio, graph: Graph, length: int, **options: object) -> Link:
    made = Animation(studio, graph, studio.small_checkpoint("512"))
    image = studio.image(graph, picture(SIZE, SIZE))
    made.text("a cloud").context(image).detail(image, SIZE, SIZE, length)
    settings = {
        **WINDOWS,
        "context_overlap": FRAMES,
        "context_schedule": "standard_static",
        **options,
    }
    made.model = graph.add("ContextWindowsManual", model=made.model, **settings)[0]
    return made.sample(steps=1)


@pytest.mark.parametrize("overlap", [FRAMES, FRAMES + 1, 1000])
@pytest.mark.parametrize("schedule", ["standard_static", "standard_uniform", "looped_uniform"])
def test_it_is_refused_by_name(studio: Studio, graph: Graph, schedule: str, overlap: int) -> None:
    link = sample(studio, graph, LENGTH, context_schedule=schedule, context_overlap=overlap)
    message = studio.error(graph, link)
    assert f"overlap by {overlap}" in message
    assert "set context_overlap to 0 to 3" in message


def test_free_noise_is_refused_too(studio: Studio, graph: Graph) -> None:
    link = sample(studio, graph, LENGTH, context_schedule="batched", freenoise=True)
    assert "set context_overlap" in studio.error(graph, link)


@pytest.mark.parametrize(("length", "schedule"), [(LENGTH, "batched"), (FRAMES, "standard_static")])
def test_where_nothing_overlaps_it_runs(
    studio: Studio, graph: Graph, length: int, schedule: str
) -> None:
    """`batched` ignores the overlap; a video of one window needs none."""
    latent = studio.run(graph, latent=sample(studio, graph, length, context_schedule=schedule))
    samples = latent["latent"]["value.samples"]
    assert samples.shape[0] == length
    assert bool(samples.isfinite().all())
