"""Across the host's adapters: a stock ControlNet of the SD 2.1 layout guides every frame."""

import pytest
import torch
from control_files import write_control_net
from graphs import Graph, Link
from scene import FRAMES, SIZE, WINDOWS, Scene, WideScene
from studio import Studio, picture, relative_error
from torch import Tensor

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
EXACT = 1e-5
FILE = "small-controlnet.safetensors"


@pytest.fixture(scope="module")
def control_net(studio: Studio) -> str:
    write_control_net(studio.server.base / "models" / "controlnet" / FILE)
    return FILE


def hints(count: int) -> Tensor:
    """A different hint for every frame: `[count, H, W, 3]`."""
    return torch.cat([picture(SIZE, SIZE, 0.7 * i) for i in range(count)])


def controlled(
    scene: Scene, control_net: str, images: Tensor, strength: float = 1.0, steps: int = 2
) -> Link:
    """LATENT under control."""
    graph = scene.graph
    applied = graph.add(
        "ControlNetApplyAdvanced",
        positive=scene.positive,
        negative=scene.negative,
        control_net=graph.add("ControlNetLoader", control_net_name=control_net)[0],
        image=scene.studio.image(graph, images),
        strength=strength,
        start_percent=0.0,
        end_percent=1.0,
    )
    before = scene.positive, scene.negative
    scene.positive, scene.negative = applied[0], applied[1]
    latent = scene.stock(steps=steps, denoise=0.5)
    scene.positive, scene.negative = before
    return latent


def latents(studio: Studio, graph: Graph, **outputs: Link) -> dict[str, Tensor]:
    results = studio.run(graph, **outputs)
    return {name: found[SAMPLES] for name, found in results.items()}


def test_control_guides_frames(studio: Studio, graph: Graph, control_net: str) -> None:
    scene = WideScene(studio, graph)
    one = hints(1)
    found = latents(
        studio,
        graph,
        plain=scene.stock(steps=2, denoise=0.5),
        off=controlled(scene, control_net, one, 0.0),
        shared=controlled(scene, control_net, one),
        repeated=controlled(scene, control_net, one.expand(FRAMES, -1, -1, -1)),
        each=controlled(scene, control_net, hints(FRAMES)),
        reversed=controlled(scene, control_net, hints(FRAMES).flip(0)),
    )
    assert "missing controlnet keys" not in studio.server.log
    assert relative_error(found["off"], found["plain"]) < EXACT
    assert relative_error(found["repeated"], found["shared"]) < EXACT
    assert relative_error(found["shared"], found["plain"]) > 0.05
    assert relative_error(found["each"], found["shared"]) > 0.01
    assert relative_error(found["each"], found["reversed"]) > 0.01


def test_a_hint_acts_most_on_its_own_frame(studio: Studio, graph: Graph, control_net: str) -> None:
    scene = WideScene(studio, graph)
    changed = hints(1).expand(FRAMES, -1, -1, -1).clone()
    changed[2] = 1 - changed[2]
    found = latents(
        studio,
        graph,
        same=controlled(scene, control_net, hints(1), steps=1),
        changed=controlled(scene, control_net, changed, steps=1),
    )
    change = (found["changed"] - found["same"]).flatten(1).norm(dim=1)
    assert int(change.argmax()) == 2
    assert float(change[2]) > 2 * float(change[[0, 1, 3]].max())


def test_every_video_of_a_batch_has_its_own_hints(
    studio: Studio, graph: Graph, control_net: str
) -> None:
    """Rows of hints belong to rows of latents: two videos of four frames take eight."""
    pictures = [picture(SIZE, SIZE, phase) for phase in (0.0, 2.0)]
    given = hints(2 * FRAMES)
    both = WideScene(studio, graph, image=torch.cat(pictures))
    outputs = {"both": run_batch(both, control_net, given, slice(None))}
    for i, image in enumerate(pictures):
        rows = slice(i * FRAMES, (i + 1) * FRAMES)
        alone = WideScene(studio, graph, image=image)
        outputs[f"video{i}"] = run_batch(alone, control_net, given[rows], rows)
    found = latents(studio, graph, **outputs)
    expected = torch.cat([found["video0"], found["video1"]])
    assert relative_error(found["both"], expected) < 1e-4


def run_batch(scene: Scene, control_net: str, images: Tensor, rows: slice) -> Link:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2 * FRAMES, 4, SIZE // 8, SIZE // 8, generator=generator)[rows]
    link = scene.studio.noise(scene.graph, noise)
    scene.unit_noise = lambda *_, **__: link  # type: ignore[method-assign]
    return controlled(scene, control_net, images)


def test_context_windows_cut_the_hints(studio: Studio, graph: Graph, control_net: str) -> None:
    """Two windows of four frames equal two videos with the hints of their own frames."""
    given = hints(2 * FRAMES)
    whole = WideScene(studio, graph, frames=2 * FRAMES)
    whole.model = graph.add("ContextWindowsManual", model=whole.model, **WINDOWS)[0]
    outputs = {"whole": run_batch(whole, control_net, given, slice(None))}
    for i in range(2):
        rows = slice(i * FRAMES, (i + 1) * FRAMES)
        outputs[f"part{i}"] = run_batch(WideScene(studio, graph), control_net, given[rows], rows)
    first = slice(None, FRAMES)
    outputs["wrong"] = run_batch(
        WideScene(studio, graph), control_net, given[first], slice(FRAMES, None)
    )
    found = latents(studio, graph, **outputs)
    expected = torch.cat([found["part0"], found["part1"]])
    assert relative_error(found["whole"], expected) < 1e-4
    assert relative_error(found["wrong"], found["part1"]) > 0.01


def test_a_control_net_of_another_width_is_refused_by_name(
    studio: Studio, graph: Graph, control_net: str
) -> None:
    """The larger golden network has other features at the same depth."""
    scene = Scene(studio, graph, checkpoint=studio.checkpoint("512_frames8"))
    message = studio.error(graph, controlled(scene, control_net, hints(1)))
    assert "residual is" in message
    assert "use a ControlNet made for SD 2.x" in message
