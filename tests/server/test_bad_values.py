"""Across the nodes: widget values outside of their ranges and types, as a prompt may have them."""

from typing import Any

import pytest
from graphs import Graph
from outcome import INF, NAN, bare, refused
from scene import FRAMES, SIZE, Scene
from studio import Studio, picture

pytestmark = pytest.mark.server

SAMPLER_VALUES: list[tuple[str, Any]] = [
    *(("steps", v) for v in (0, -1, 1001, "many", NAN, INF, None)),
    *(("cfg", v) for v in (-1.0, 101.0, NAN, INF, -INF, "nan", "strong")),
    *(("image_cfg", v) for v in (-0.1, 1e9, NAN, "nan")),
    *(("eta", v) for v in (-0.5, 1.5, NAN, INF, "nan")),
    *(("denoise", v) for v in (-0.5, 1.5, NAN, "nan")),
    *(("guidance_rescale", v) for v in (-2.0, 1.5, NAN, INF)),
    *(("start_timestep", v) for v in (0, -1, 1001, NAN)),
    *(("seed", v) for v in (-1, 2**64, "x", NAN)),
    *(("spacing", v) for v in ("", "linear", 3)),
    *(("ending", v) for v in ("", "dirty")),
]


@pytest.mark.parametrize(("widget", "value"), SAMPLER_VALUES, ids=str)
def test_sampler_values(studio: Studio, graph: Graph, widget: str, value: Any) -> None:
    scene = Scene(studio, graph)
    link = scene.sample(**{"steps": 1, **({widget: value} if value is not None else {})})
    if value is None:
        del graph.prompt[link[0]]["inputs"][widget]
    message = refused(studio, graph, link)
    assert widget in message


GUIDANCE_VALUES: list[tuple[str, Any]] = [
    *(("width", v) for v in (0, -8, 7, 68, 9000, NAN, "wide")),
    *(("height", v) for v in (0, -8, 12, 8200)),
    *(("length", v) for v in (0, -1, 1025, NAN)),
    *(("batch_size", v) for v in (0, -1, 65)),
    *(("fps", v) for v in (-1, 1001, NAN)),
    *(("mode", v) for v in ("", "dance")),
    *(("fit", v) for v in ("", "squeeze")),
]


@pytest.mark.parametrize(("widget", "value"), GUIDANCE_VALUES, ids=str)
def test_guidance_values(studio: Studio, graph: Graph, widget: str, value: Any) -> None:
    image = studio.image(graph, picture(SIZE, SIZE))
    settings = {"width": SIZE, "height": SIZE, "length": FRAMES, widget: value}
    made = bare(studio, graph).detail(image, **settings)
    assert widget in refused(studio, graph, made.latent)


@pytest.mark.parametrize("node", ["image to video", "text to video"])
def test_a_video_larger_than_the_memory(studio: Studio, graph: Graph, node: str) -> None:
    size = {"width": 8192, "height": 8192, "length": 1024, "batch_size": 64}
    made = bare(studio, graph)
    if node == "image to video":
        image = studio.image(graph, picture(SIZE, SIZE))
        link = made.detail(image, **size).latent
    else:
        texts = {"positive": made.positive, "negative": made.negative}
        link = graph.add("DynamiCrafterEmptyVideo", **texts, **size, fps=0)[2]
    assert "choose a smaller size" in refused(studio, graph, link)


OTHER_VALUES: list[tuple[str, dict[str, Any], str]] = [
    ("DynamiCrafterDDIM", {"eta": NAN}, "eta"),
    ("DynamiCrafterScheduler", {"denoise": NAN}, "denoise"),
    ("DynamiCrafterScheduler", {"steps": 0}, "steps"),
    ("DynamiCrafterGuider", {"cfg": NAN}, "cfg"),
    ("DynamiCrafterGuider", {"guidance_rescale": NAN}, "guidance_rescale"),
    ("DynamiCrafterLambda", {"outer_layers": NAN}, "outer_layers"),
    ("DynamiCrafterLambda", {"middle_layers": -1.0}, "middle_layers"),
    ("DynamiCrafterLambda", {"per_layer": "nan"}, "per_layer"),
    ("DynamiCrafterLambda", {"per_layer": "1e400"}, "per_layer"),
    ("DynamiCrafterLambda", {"per_layer": "1,,2"}, "per_layer"),
    ("DynamiCrafterLambda", {"per_layer": "__import__('os')"}, "per_layer"),
    ("DynamiCrafterAnalyticInit", {"start_timestep": 0}, "start_timestep"),
    ("DynamiCrafterAnalyticInit", {"init_file": "../../secret.pt"}, "init_file"),
    ("DynamiCrafterAnalyticInit", {"init_file": "/etc/passwd"}, "init_file"),
]
DEFAULTS: dict[str, dict[str, Any]] = {
    "DynamiCrafterDDIM": {},
    "DynamiCrafterScheduler": {
        "steps": 2,
        "spacing": "auto",
        "denoise": 1.0,
        "ending": "clean",
        "start_timestep": 1000,
    },
    "DynamiCrafterGuider": {"cfg": 7.5, "image_cfg": 7.5, "guidance_rescale": -1.0},
    "DynamiCrafterLambda": {"outer_layers": 1.0, "middle_layers": 1.0, "per_layer": ""},
    "DynamiCrafterAnalyticInit": {"init_file": "built-in", "seed": 1, "start_timestep": 940},
}


@pytest.mark.parametrize(("node", "values", "fragment"), OTHER_VALUES, ids=str)
def test_other_values(
    studio: Studio, graph: Graph, node: str, values: dict[str, Any], fragment: str
) -> None:
    scene = Scene(studio, graph)
    wired: dict[str, Any] = {} if node == "DynamiCrafterDDIM" else {"model": scene.model}
    if node == "DynamiCrafterGuider":
        wired |= {"positive": scene.positive, "negative": scene.negative}
    made = graph.add(node, **wired, **{**DEFAULTS[node], **values})
    assert fragment in refused(studio, graph, made[0])
