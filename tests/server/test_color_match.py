"""Color Match on the server: every setting reaches the frames."""

import pytest
import torch
from events import listen
from graphs import Graph, Node
from studio import Studio

from dc_model.video.color_match import match_colors

pytestmark = pytest.mark.server


@pytest.mark.parametrize("method", ["mean_std", "covariance", "histogram"])
@pytest.mark.parametrize("source", ["each_frame", "first_frame"])
def test_every_setting_is_heard(studio: Studio, graph: Graph, method: str, source: str) -> None:
    generator = torch.Generator().manual_seed(0)
    frames, reference = (torch.rand(n, 16, 16, 3, generator=generator) ** n for n in (3, 1))
    matched = graph.add(
        "DynamiCrafterColorMatch",
        images=studio.image(graph, frames),
        reference=studio.image(graph, reference),
        method=method,
        source=source,
        strength=0.5,
    )[0]
    found = studio.run(graph, matched=matched)["matched"]["value"]
    expected = match_colors(frames, reference, method, source, 0.5)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_progress_is_told(studio: Studio, graph: Graph) -> None:
    """Long videos take minutes."""
    frames = torch.rand(3, 8, 8, 3, generator=torch.Generator().manual_seed(1))
    matched = graph.add(
        "DynamiCrafterColorMatch",
        images=studio.image(graph, frames),
        reference=studio.image(graph, frames[:1]),
        method="histogram",
        source="each_frame",
        strength=1.0,
    )[0]
    graph.add("TestSave", value=matched, name="progress")
    told = listen(studio.server, graph.prompt, "none")
    name = Node(matched[0]).name
    # The server leaves out some that follow each other quickly, but not the last.
    assert [step for step in told.progress if step[0] == name][-1] == (name, 3, 3)
