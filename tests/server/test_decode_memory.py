"""What the VAE is asked for: each image once, frames by free memory, tiles when that runs out."""

from typing import Any

import pytest
import torch
from graphs import Graph, Link
from scene import FRAMES, SIZE, unit_noise
from studio import Animation, Studio, picture, relative_error
from torch import Tensor

pytestmark = pytest.mark.server

LENGTH = 4
DECODE = {"chunk_frames": 0, "tile_size": 0, "drop_last_frame": False}


class Watch:
    """Nodes of one graph, each with a VAE of its own that counts its rows."""

    def __init__(self, studio: Studio, graph: Graph):
        self.studio, self.graph = studio, graph
        self.made = Animation(studio, graph, studio.small_checkpoint()).text("a red ball")
        self.outputs: dict[str, Link] = {}

    def add(
        self, name: str, node: str, *, most_rows: int = 0, rows_that_fit: int = 0, **inputs: Any
    ) -> None:
        watch = {"name": name, "most_rows": most_rows, "rows_that_fit": rows_that_fit}
        watched = self.graph.add("TestWatchVAE", vae=self.made.vae, **watch)
        after = self.graph.add(node, vae=watched[0], **inputs)[0]
        seen = self.graph.add("TestCallsSeen", seen=watched[1], after=after)[0]
        self.outputs |= {name: after, f"{name}_calls": seen}

    def detail(self, name: str, images: int = 1, batch_size: int = 1, **inputs: Any) -> None:
        settings = {"width": SIZE, "height": SIZE, "length": LENGTH, "fps": 0, "fit": "crop"}
        conditioning = {"positive": self.made.positive, "negative": self.made.negative}
        self.add(
            name,
            "DynamiCrafterVisualDetailGuidance",
            image=self.image(images),
            batch_size=batch_size,
            **{"mode": name, **settings, **conditioning, **inputs},
        )

    def image(self, count: int = 1, phase: float = 0.0) -> Link:
        frames = [picture(SIZE, SIZE, phase + i) for i in range(count)]
        return self.studio.image(self.graph, torch.cat(frames))

    def calls(self, found: dict[str, dict[str, Tensor]], name: str, kind: str) -> list[int]:
        return found[f"{name}_calls"][f"value.{kind}"].int().tolist()


def test_every_image_is_encoded_once(studio: Studio, graph: Graph) -> None:
    """Never once per frame or per video of the batch."""
    watch = Watch(studio, graph)
    end, later = watch.image(phase=0.5), watch.image(phase=0.7)
    first = graph.add("DynamiCrafterKeyframe", image=end, frame=2)[0]
    keyframes = graph.add("DynamiCrafterKeyframe", image=later, frame=-1, keyframes=first)[0]
    start = graph.add("DynamiCrafterKeyframe", image=end, frame=0, keyframes=first)[0]
    watch.detail("animate")
    watch.detail("animate_batch", mode="animate", batch_size=3)
    watch.detail("animate_images", 2, mode="animate")
    watch.detail("loop", batch_size=2)
    watch.detail("interpolate", end_image=end, batch_size=2)
    watch.detail("interpolate_images", 2, mode="interpolate", end_image=end)
    watch.detail("keyframes", keyframes=keyframes, batch_size=2)
    watch.detail("keyframes_start", mode="keyframes", keyframes=start)
    watch.detail("per_frame", LENGTH, batch_size=2)
    expected = {
        "animate": 1,
        "animate_batch": 1,
        "animate_images": 2,
        "loop": 1,
        "interpolate": 2,
        "interpolate_images": 3,
        "keyframes": 3,
        "keyframes_start": 2,
        "per_frame": LENGTH,
    }
    found = studio.run(graph, **watch.outputs)
    assert {name: sum(watch.calls(found, name, "encode")) for name in expected} == expected


def test_frames_are_decoded_by_free_memory_and_in_tiles_when_it_runs_out(
    studio: Studio, graph: Graph
) -> None:
    watch = Watch(studio, graph)
    samples = studio.latent(graph, unit_noise(0, frames=FRAMES + 1), FRAMES + 1)
    node = "DynamiCrafterVideoDecode"
    watch.add("whole", node, samples=samples, **DECODE)
    watch.add("two_fit", node, rows_that_fit=2, samples=samples, **DECODE)
    watch.add("chunks", node, samples=samples, **{**DECODE, "chunk_frames": 3})
    # More seem to fit than do: what is left is one frame at a time, in tiles.
    watch.add("too_few", node, most_rows=1, samples=samples, **DECODE)
    watch.add("later", node, most_rows=2, samples=samples, **{**DECODE, "chunk_frames": 3})
    found = studio.run(graph, **watch.outputs)
    whole = found["whole"]["value"]
    for name in ("two_fit", "chunks", "too_few", "later"):
        assert relative_error(found[name]["value"], whole) < 1e-5, name
    assert watch.calls(found, "whole", "decode") == [FRAMES + 1]
    assert watch.calls(found, "two_fit", "decode") == [2, 2, 1]
    assert watch.calls(found, "chunks", "decode") == [3, 2]
    assert watch.calls(found, "too_few", "refused") == [FRAMES + 1]
    assert set(watch.calls(found, "too_few", "decode")) == {1}
    assert watch.calls(found, "later", "refused") == [3]
    assert watch.calls(found, "later", "decode")[-1] == 2
