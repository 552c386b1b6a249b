"""Across the host's adapters: a stock ControlNet of the SD 2.1 layout guides every frame."""

from pathlib import Path

import pytest
import torch
from graphs import Graph, Link
from safetensors.torch import save_file
from scene import FRAMES, SIZE, WINDOWS, Scene
from studio import Studio, picture, relative_error
from torch import Tensor

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
EXACT = 1e-5
FILE = "small-controlnet.safetensors"
WIDTH, CONTEXT = 64, 128
HINT_WIDTHS = (16, 16, 32, 32, 96, 96, 256)


def transformer(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of one spatial transformer."""
    block = f"{name}.transformer_blocks.0"
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in ("proj_in", "proj_out"):
        shapes[f"{name}.{layer}.weight"] = (channels, channels)
    for attention, keys in (("attn1", channels), ("attn2", CONTEXT)):
        shapes[f"{block}.{attention}.to_q.weight"] = (channels, channels)
        shapes[f"{block}.{attention}.to_k.weight"] = (channels, keys)
        shapes[f"{block}.{attention}.to_v.weight"] = (channels, keys)
        shapes[f"{block}.{attention}.to_out.0.weight"] = (channels, channels)
    shapes[f"{block}.ff.net.0.proj.weight"] = (channels * 8, channels)
    shapes[f"{block}.ff.net.2.weight"] = (channels, channels * 4)
    for norm in (f"{name}.norm", *(f"{block}.norm{i}" for i in (1, 2, 3))):
        shapes[f"{norm}.weight"] = (channels,)
    return shapes


def residual(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of one residual block."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{name}.in_layers.0.weight": (inputs,),
        f"{name}.in_layers.2.weight": (outputs, inputs, 3, 3),
        f"{name}.emb_layers.1.weight": (outputs, WIDTH * 4),
        f"{name}.out_layers.0.weight": (outputs,),
        f"{name}.out_layers.3.weight": (outputs, outputs, 3, 3),
    }
    if inputs != outputs:
        shapes[f"{name}.skip_connection.weight"] = (outputs, inputs, 1, 1)
    return shapes


def control_shapes() -> dict[str, tuple[int, ...]]:
    """Every weight; all but the attentions' inner ones have a bias beside them."""
    deep = WIDTH * 2
    shapes: dict[str, tuple[int, ...]] = {
        "time_embed.0.weight": (WIDTH * 4, WIDTH),
        "time_embed.2.weight": (WIDTH * 4, WIDTH * 4),
        "input_blocks.0.0.weight": (WIDTH, 4, 3, 3),
        **residual("input_blocks.1.0", WIDTH, WIDTH),
        **transformer("input_blocks.1.1", WIDTH),
        "input_blocks.2.0.op.weight": (WIDTH, WIDTH, 3, 3),
        **residual("input_blocks.3.0", WIDTH, deep),
        **residual("middle_block.0", deep, deep),
        **transformer("middle_block.1", deep),
        **residual("middle_block.2", deep, deep),
        "middle_block_out.0.weight": (deep, deep, 1, 1),
    }
    for i, channels in enumerate((WIDTH, WIDTH, WIDTH, deep)):
        shapes[f"zero_convs.{i}.0.weight"] = (channels, channels, 1, 1)
    for i, (inputs, outputs) in enumerate(
        zip((3, *HINT_WIDTHS), (*HINT_WIDTHS, WIDTH), strict=True)
    ):
        shapes[f"input_hint_block.{2 * i}.weight"] = (outputs, inputs, 3, 3)
    return shapes


def write_control_net(path: Path) -> None:
    generator, tensors = torch.Generator().manual_seed(0), {}
    for key, shape in control_shapes().items():
        values = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            tensors[key] = 1 + 0.1 * values
        else:
            # A SiLU follows every layer of the hint's encoder and halves its signal.
            gain = 2.0 if key.startswith("input_hint_block") else 1.0
            tensors[key] = gain * values / (torch.tensor(shape[1:]).prod() ** 0.5)
        if not key.endswith(("to_q.weight", "to_k.weight", "to_v.weight")):
            bias = torch.randn(shape[0], generator=generator)
            tensors[key.replace(".weight", ".bias")] = 0.1 * bias
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


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
    scene = Scene(studio, graph)
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
    scene = Scene(studio, graph)
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
    both = Scene(studio, graph, image=torch.cat(pictures))
    outputs = {"both": run_batch(both, control_net, given, slice(None))}
    for i, image in enumerate(pictures):
        rows = slice(i * FRAMES, (i + 1) * FRAMES)
        alone = Scene(studio, graph, image=image)
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
    whole = Scene(studio, graph, frames=2 * FRAMES)
    whole.model = graph.add("ContextWindowsManual", model=whole.model, **WINDOWS)[0]
    outputs = {"whole": run_batch(whole, control_net, given, slice(None))}
    for i in range(2):
        rows = slice(i * FRAMES, (i + 1) * FRAMES)
        outputs[f"part{i}"] = run_batch(Scene(studio, graph), control_net, given[rows], rows)
    first = slice(None, FRAMES)
    outputs["wrong"] = run_batch(
        Scene(studio, graph), control_net, given[first], slice(FRAMES, None)
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
