"""The gate lambda: per layer, per MODEL clone, and drawn; and how often text is projected."""

import pytest
import torch
from graphs import Graph, Link
from scene import FRAMES, SIZE, Scene
from small_checkpoint import UNET
from studio import Animation, Studio, picture, relative_error
from torch import Tensor

pytestmark = pytest.mark.server

SAMPLES = "value.samples"
EXACT = 1e-5
# The small U-Net's spatial layers: input_blocks.1, the middle, output_blocks.2 and 3.
LAYERS = ("input_blocks.1.1.", "middle_block.1.", "output_blocks.2.1.", "output_blocks.3.1.")


def with_lambda(scene: Scene, outer: float = 1.0, middle: float = 1.0, per_layer: str = "") -> Link:
    """MODEL."""
    return scene.graph.add(
        "DynamiCrafterLambda",
        model=scene.model,
        outer_layers=outer,
        middle_layers=middle,
        per_layer=per_layer,
    )[0]


def sample(scene: Scene, model: Link | None = None) -> Link:
    before = scene.model
    scene.model = model or before
    latent = scene.stock(steps=2, denoise=0.5)
    scene.model = before
    return latent


def scaled(factors: tuple[float, ...]):
    """Weights whose image stream is as strong as lambda times the factors makes it."""

    def edit(tensors: dict[str, Tensor]) -> None:
        for layer, factor in zip(LAYERS, factors, strict=True):
            for key in tensors:
                if key.startswith(UNET + layer) and key.endswith("attn2.to_v_ip.weight"):
                    tensors[key] *= factor

    return edit


@pytest.mark.parametrize("variant", ["512", "256"])
@pytest.mark.parametrize(
    ("outer", "middle", "per_layer", "factors"),
    [
        (0.0, 0.0, "", (0.0, 0.0, 0.0, 0.0)),
        (0.5, 2.0, "", (0.5, 2.0, 0.5, 0.5)),
        (3.0, 3.0, "1, 0, 0.5, 1.5", (1.0, 0.0, 0.5, 1.5)),
    ],
    ids=["zero", "outer-and-middle", "per-layer"],
)
def test_lambda_equals_a_weaker_image_stream(
    studio: Studio,
    graph: Graph,
    variant: str,
    outer: float,
    middle: float,
    per_layer: str,
    factors: tuple[float, ...],
) -> None:
    name = "-lambda-" + "-".join(str(f) for f in factors)
    edited = studio.small_checkpoint(variant, name=name, edit=scaled(factors))
    scene = Scene(studio, graph, variant)
    expected = Scene(studio, graph, checkpoint=edited)
    results = studio.run(
        graph,
        found=sample(scene, with_lambda(scene, outer, middle, per_layer)),
        expected=sample(expected),
        # The first MODEL's weights stay as they were while and after a clone differs.
        plain=sample(scene),
        again=sample(scene, with_lambda(scene)),
    )
    found = {key: result[SAMPLES] for key, result in results.items()}
    assert relative_error(found["found"], found["expected"]) < EXACT
    assert relative_error(found["found"], found["plain"]) > 1e-3
    assert relative_error(found["again"], found["plain"]) < 1e-7


def test_lambda_zero_forgets_the_image_tokens(studio: Studio, graph: Graph) -> None:
    """Without the image stream it no longer matters which picture the tokens are of."""
    scene = Scene(studio, graph)
    tokens = torch.randn(1, 16 * FRAMES, 128, generator=torch.Generator().manual_seed(0))
    other = Scene(studio, graph)
    for name in ("positive", "negative"):
        changed = graph.add(
            "TestSetConditioning",
            conditioning=getattr(other, name),
            file=studio.put(value=tokens),
            key="value",
            name="dynamicrafter_image_context",
        )[0]
        setattr(other, name, changed)
    results = studio.run(
        graph,
        one=sample(scene, with_lambda(scene, 0.0, 0.0)),
        two=sample(other, with_lambda(other, 0.0, 0.0)),
        plain_one=sample(scene),
        plain_two=sample(other),
    )
    found = {key: result[SAMPLES] for key, result in results.items()}
    assert relative_error(found["one"], found["two"]) < EXACT
    assert relative_error(found["plain_one"], found["plain_two"]) > 1e-3


def test_lambdas_in_a_row_multiply(studio: Studio, graph: Graph) -> None:
    scene = Scene(studio, graph)
    once = with_lambda(scene, 0.25, 1.5)
    before = scene.model
    scene.model = with_lambda(scene, 0.5, 3.0)
    twice = with_lambda(scene, 0.5, 0.5)
    scene.model = before
    results = studio.run(graph, once=sample(scene, once), twice=sample(scene, twice))
    assert relative_error(results["twice"][SAMPLES], results["once"][SAMPLES]) < EXACT


def bar_heights(image: Tensor) -> list[int]:
    """Pixels of each bar's colours in the chart, from left to right."""
    colours = torch.tensor([[66, 114, 184], [217, 119, 66]]) / 255
    inside = (image[:-48, :, None] - colours).abs().amax(-1).amin(-1) < 0.01  # [H, W]
    heights = inside.sum(0)
    bars: list[int] = []
    previous = 0
    for height in heights.tolist():
        if height and not previous:
            bars.append(height)
        elif height:
            bars[-1] = max(bars[-1], height)
        previous = height
    return bars


def test_the_plot_shows_the_learned_gates_and_what_lambda_made_of_them(
    studio: Studio, graph: Graph
) -> None:
    alphas = (-1.0, 0.0, 0.5, 2.0)

    def edit(tensors: dict[str, Tensor]) -> None:
        for layer, alpha in zip(LAYERS, alphas, strict=True):
            tensors[f"{UNET}{layer}transformer_blocks.0.attn2.alpha"] = torch.tensor(alpha)

    scene = Scene(
        studio, graph, checkpoint=studio.small_checkpoint("256", name="-gates", edit=edit)
    )
    learned = graph.add("DynamiCrafterLambdaPlot", model=scene.model)[0]
    halved = graph.add("DynamiCrafterLambdaPlot", model=with_lambda(scene, 0.5, 1.0))[0]
    results = studio.run(graph, learned=learned, halved=halved)
    gates = torch.tanh(torch.tensor(alphas)) + 1
    for name, expected in (
        ("learned", gates),
        ("halved", gates * torch.tensor([0.5, 1.0, 0.5, 0.5])),
    ):
        image = results[name]["value"]
        assert image.shape == (1, 480, 960, 3)
        assert float(image.min()) >= 0 and float(image.max()) <= 1
        bars = torch.tensor(bar_heights(image[0]), dtype=torch.float32)
        assert len(bars) == len(alphas), name
        # Heights in units of lambda: the same scale for every bar, to a pixel or two.
        scale = bars.sum() / expected.sum()
        assert float((bars - expected * scale).abs().max()) < 3.0, name


def test_the_plot_is_of_this_models_gates_not_of_a_clones(studio: Studio, graph: Graph) -> None:
    """Merged gates are drawn; the model that they were merged into keeps its own."""

    def file(seed: int, alpha: float) -> str:
        def edit(tensors: dict[str, Tensor]) -> None:
            for layer in LAYERS:
                tensors[f"{UNET}{layer}transformer_blocks.0.attn2.alpha"] = torch.tensor(alpha)

        return studio.small_checkpoint("256", seed=seed, name="-one-gate", edit=edit)

    def plot(model: Link) -> Link:
        return graph.add("DynamiCrafterLambdaPlot", model=model)[0]

    scene = Scene(studio, graph, checkpoint=file(0, 0.8))
    other = Animation(studio, graph, file(1, -0.7)).model
    merged = graph.add("ModelMergeSimple", model1=scene.model, model2=other, ratio=0.0)[0]
    before = studio.run(graph, own=plot(scene.model))
    # Sampling loads the merged gates into the network that both models share.
    during = studio.run(graph, latent=sample(scene, merged), merged=plot(merged), other=plot(other))
    after = studio.run(graph, own=plot(with_lambda(scene)))
    assert torch.equal(during["merged"]["value"], during["other"]["value"])
    assert not torch.equal(before["own"]["value"], during["other"]["value"])
    assert torch.equal(after["own"]["value"], before["own"]["value"])


def test_text_is_projected_once_per_video(studio: Studio, graph: Graph) -> None:
    videos = 2
    images = torch.cat([picture(SIZE, SIZE, phase) for phase in (0.0, 2.0)])
    scene = Scene(studio, graph, image=images)
    counted = graph.add("TestCountRows", model=scene.model)
    scene.model = counted[0]
    latent = scene.sample(steps=1, cfg=3.0)
    seen = graph.add("TestRowsSeen", counter=counted[1], after=latent)[0]
    results = studio.run(graph, seen=seen)["seen"]
    rows = {path: int(value) for path, value in results.items()}
    # Positive and negative share one call. Image tokens differ by frame.
    expected = {"text": videos * 2, "image": videos * 2 * FRAMES, "queries": videos * 2 * FRAMES}
    assert rows == {f"value.{kind}.0": count for kind, count in expected.items()}
