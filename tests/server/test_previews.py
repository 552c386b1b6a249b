"""Across the samplers: previews and progress as the server sends them, ours and stock."""

from pathlib import Path

import pytest
import torch
from events import Told, listen
from graphs import Graph, Node
from safetensors.torch import save_file
from scene import SIZE, Scene
from studio import Studio, relative_error
from torch import Tensor

pytestmark = pytest.mark.server

STEPS = 3
LATENT_SCALE = 0.18215
# The server enlarges previews to this size.
PREVIEW = 512


def run(studio: Studio, scene: Scene, kind: str, method: str) -> tuple[Told, Tensor, str]:
    """(what the server sent, the latents, the sampling node's name)."""
    noise = scene.unit_noise()
    if kind == "ours":
        latent = scene.sample(steps=STEPS, cfg=1.0, eta=0.0, noise=noise)
    else:
        latent = scene.stock(cfg=1.0, steps=STEPS)
    name = f"preview-{kind}-{method}"
    scene.graph.add("TestSave", value=latent, name=name)
    told = listen(studio.server, scene.graph.prompt, method)
    assert told.ending == "execution_success"
    results = studio.run(scene.graph, latent=latent)  # cached by now
    return told, results["latent"]["value.samples"], Node(latent[0]).name


def cells(picture: Tensor, count: int) -> Tensor:
    """A preview at the centres of its `count` x `count` cells: `[count, count, 3]`."""
    size = picture.shape[0] // count
    centres = [i * size + size // 2 + offset for i in range(count) for offset in (-1, 0)]
    index = torch.tensor(centres)
    return picture[index][:, index].unflatten(0, (count, 2)).unflatten(2, (count, 2)).mean((1, 3))


@pytest.mark.parametrize("kind", ["ours", "stock"])
def test_latent2rgb_previews_show_the_first_frame(studio: Studio, graph: Graph, kind: str) -> None:
    scene = Scene(studio, graph)
    told, latent, node = run(studio, scene, kind, "latent2rgb")
    assert [p for p in told.progress if p[0] == node][-STEPS:] == [
        (node, step, STEPS) for step in range(1, STEPS + 1)
    ]
    assert len(told.previews) == STEPS
    assert all(p.shape == (PREVIEW, PREVIEW, 3) for p in told.previews)
    colours = cells(told.previews[-1], SIZE // 8).reshape(-1, 3)
    # Colours are a linear map of the latents, cut off at black and white.
    explained = [_explained(frame, colours) for frame in latent]
    assert explained[0] > 0.97
    assert all(other < 0.8 for other in explained[1:]), explained


def _explained(frame: Tensor, colours: Tensor) -> float:
    """Share of the preview's variance that a linear map of a frame's latents explains."""
    values = frame.flatten(1).T * LATENT_SCALE  # [h*w, 4]
    values = torch.cat([values, torch.ones(len(values), 1)], dim=1)
    inside = ((colours > 0.02) & (colours < 0.98)).all(1)
    assert int(inside.sum()) > 20
    given, wanted = values[inside], colours[inside]
    left = wanted - given @ torch.linalg.lstsq(given, wanted).solution
    return 1 - float(left.square().sum() / (wanted - wanted.mean(0)).square().sum())


def write_taesd(path: Path) -> None:
    """A decoder of the host's layout that shows three latent channels, softly limited."""
    width, tensors = 64, {}

    def conv(name: str, inputs: int, outputs: int, bias: bool = True) -> Tensor:
        weight = torch.zeros(outputs, inputs, 3, 3)
        tensors[f"{name}.weight"] = weight
        if bias:
            tensors[f"{name}.bias"] = torch.zeros(outputs)
        return weight

    conv("1", 4, width)[range(3), range(3), 1, 1] = 1.0
    tensors["1.bias"] += 4.0  # above zero, so no ReLU cuts
    for block in (3, 4, 5, 8, 9, 10, 13, 14, 15, 18):
        for layer in (0, 2, 4):
            conv(f"{block}.conv.{layer}", width, width)
    for upsampled in (7, 12, 17):
        conv(f"{upsampled}", width, width, bias=False)[range(width), range(width), 1, 1] = 1.0
    conv("19", width, 3)[range(3), range(3), 1, 1] = 0.125
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


@pytest.mark.parametrize("kind", ["ours", "stock"])
def test_taesd_previews_decode_the_first_frame(studio: Studio, graph: Graph, kind: str) -> None:
    write_taesd(studio.server.base / "models" / "vae_approx" / "taesd_decoder.safetensors")
    told, latent, _ = run(studio, Scene(studio, graph), kind, "taesd")
    assert len(told.previews) == STEPS
    found = cells(told.previews[-1], SIZE // 8)
    limited = torch.tanh(latent[0, :3] * LATENT_SCALE / 3) * 3
    expected = (0.125 * (limited + 4)).movedim(0, -1)
    assert float((found - expected).abs().max()) < 0.05
    assert relative_error(found - found.mean(), expected - expected.mean()) < 0.15
