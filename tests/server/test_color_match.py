"""Color Match on the server: every setting reaches the frames."""

import numpy as np
import pytest
import torch
from events import listen
from graphs import Graph, Node
from scipy import linalg
from studio import Studio

pytestmark = pytest.mark.server


def moved(pixels: np.ndarray, source: np.ndarray, target: np.ndarray, method: str) -> np.ndarray:
    """Pixels `[P, 3]` by the map that takes `source`'s colours to `target`'s, both `[P, 3]`."""
    if method == "histogram":  # as many pixels in both, no two alike: rank goes to rank
        ranked, wanted = np.sort(source, axis=0), np.sort(target, axis=0)
        channels = [np.interp(pixels[:, c], ranked[:, c], wanted[:, c]) for c in range(3)]
        return np.stack(channels, axis=1)
    if method == "mean_std":
        gain = np.diag(target.std(axis=0) / source.std(axis=0))
    else:  # the geometric mean of the target's covariance and the source's inverse
        old, new = (np.cov(p.T, bias=True) for p in (source, target))
        gain = np.real(linalg.sqrtm(new @ old)) @ np.linalg.inv(old)
    return (pixels - source.mean(axis=0)) @ gain.T + target.mean(axis=0)


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
    target = reference[0].reshape(-1, 3).double().numpy()
    for i, frame in enumerate(frames):
        pixels, first = (f.reshape(-1, 3).double().numpy() for f in (frame, frames[0]))
        matched_pixels = moved(pixels, pixels if source == "each_frame" else first, target, method)
        expected = np.clip((pixels + matched_pixels) / 2, 0, 1).reshape(16, 16, 3)
        torch.testing.assert_close(found[i].double(), torch.from_numpy(expected), atol=1e-5, rtol=0)


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
