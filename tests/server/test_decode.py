"""Video Decode with an ordinary VAE: frames, pieces, tiles and the last frame."""

from typing import Any

import pytest
import torch
from graphs import Graph
from scene import FRAMES, unit_noise
from studio import Animation, Studio, relative_error
from torch import Tensor

pytestmark = pytest.mark.server

IMAGE = "value"


class Decoding:
    """Two videos' latents, decoded in many ways in one prompt."""

    def __init__(self, studio: Studio, graph: Graph):
        self.studio, self.graph = studio, graph
        self.vae = Animation(studio, graph, studio.small_checkpoint()).vae
        self.latents = unit_noise(2, videos=2)
        self.outputs: dict[str, Any] = {}

    def add(self, name: str, num_frames: int = FRAMES, **options: Any) -> None:
        settings = {"chunk_frames": 0, "tile_size": 0, "drop_last_frame": False, **options}
        samples = self.studio.latent(self.graph, self.latents, num_frames)
        node = self.graph.add("DynamiCrafterVideoDecode", vae=self.vae, samples=samples, **settings)
        self.outputs |= {name: node[0], f"{name}_last": node[1]}

    def run(self) -> dict[str, Tensor]:
        samples = self.studio.latent(self.graph, self.latents)
        stock = self.graph.add("VAEDecode", vae=self.vae, samples=samples)[0]
        found = self.studio.run(self.graph, stock=stock, **self.outputs)
        return {name: tensors[IMAGE] for name, tensors in found.items()}


def test_frames_and_the_last_one_of_each_video(studio: Studio, graph: Graph) -> None:
    decoding = Decoding(studio, graph)
    decoding.add("whole")
    decoding.add("dropped", drop_last_frame=True)
    decoding.add("pieces", chunk_frames=3)
    decoding.add("untold", num_frames=0)
    decoding.add("misfit", num_frames=3)  # does not divide the 8 rows: one video
    found = decoding.run()
    stock = found["stock"]
    frames = stock.unflatten(0, (2, FRAMES))  # [N, T, H, W, 3]
    expected = {
        "whole": (stock, frames[:, -1]),
        "pieces": (stock, frames[:, -1]),
        "dropped": (frames[:, :-1].flatten(0, 1), frames[:, -2]),
        "untold": (stock, stock[-1:]),
        "misfit": (stock, stock[-1:]),
    }
    for name, (images, last) in expected.items():
        assert relative_error(found[name], images) < 1e-5, name
        assert relative_error(found[f"{name}_last"], last) < 1e-5, name


def test_tiles_stay_near_whole_frames(studio: Studio, graph: Graph) -> None:
    decoding = Decoding(studio, graph)
    decoding.latents = torch.nn.functional.interpolate(unit_noise(2), scale_factor=2.0)
    decoding.add("tiles", tile_size=64)
    decoding.add("large_tiles", tile_size=512)
    found = decoding.run()
    assert relative_error(found["large_tiles"], found["stock"]) < 1e-4
    assert 1e-4 < relative_error(found["tiles"], found["stock"]) < 0.5
