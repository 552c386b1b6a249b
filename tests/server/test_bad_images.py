"""Across the nodes: odd and hostile images into every input that takes one."""

import pytest
import torch
from graphs import Graph, Link
from outcome import INF, NAN, bare, outcome, refused, runs
from scene import FRAMES, SIZE
from studio import Studio, picture
from torch import Tensor

pytestmark = pytest.mark.server


def spoiled(value: float) -> Tensor:
    image = picture(SIZE, SIZE)
    image[0, 3, 5, 1] = value
    return image


BAD_IMAGES: dict[str, tuple[Tensor, str]] = {
    "no image": (torch.zeros(0, SIZE, SIZE, 3), "is empty|0 images"),
    "no rows": (torch.zeros(1, 0, SIZE, 3), "is empty"),
    "no columns": (torch.zeros(1, SIZE, 0, 3), "is empty"),
    "two channels": (torch.zeros(1, SIZE, SIZE, 2), "expected a batch of images"),
    "five channels": (torch.zeros(1, SIZE, SIZE, 5), "expected a batch of images"),
    "no batch": (torch.zeros(SIZE, SIZE, 3), "expected a batch|images; expected"),
    "a video": (torch.zeros(1, 2, SIZE, SIZE, 3), "expected a batch of images"),
    "NaN": (spoiled(NAN), "not finite"),
    "infinite": (spoiled(INF), "not finite"),
    "negative infinite": (spoiled(-INF), "not finite"),
}


def into_guidance(studio: Studio, graph: Graph, image: Link) -> Link:
    return bare(studio, graph).detail(image, SIZE, SIZE, FRAMES).latent


def into_end_image(studio: Studio, graph: Graph, image: Link) -> Link:
    start = studio.image(graph, picture(SIZE, SIZE))
    made = bare(studio, graph)
    return made.detail(start, SIZE, SIZE, FRAMES, mode="interpolate", end_image=image).latent


def into_keyframe(studio: Studio, graph: Graph, image: Link) -> Link:
    start = studio.image(graph, picture(SIZE, SIZE))
    frames = graph.add("DynamiCrafterKeyframe", image=image, frame=2)[0]
    made = bare(studio, graph)
    return made.detail(start, SIZE, SIZE, FRAMES, mode="keyframes", keyframes=frames).latent


def into_context(studio: Studio, graph: Graph, image: Link) -> Link:
    return bare(studio, graph).context(image).positive


def into_colors(studio: Studio, graph: Graph, image: Link) -> Link:
    video = studio.image(graph, picture(SIZE, SIZE))
    return graph.add(
        "DynamiCrafterColorMatch",
        images=video,
        reference=image,
        method="mean_std",
        source="each_frame",
        strength=1.0,
    )[0]


def into_extend(studio: Studio, graph: Graph, image: Link) -> Link:
    made = bare(studio, graph)
    return made.extend(image, FRAMES, 1)[3]


CONSUMERS = {
    "guidance": into_guidance,
    "end image": into_end_image,
    "keyframe": into_keyframe,
    "context": into_context,
    "colors": into_colors,
    "extend": into_extend,
}


@pytest.mark.parametrize("consumer", list(CONSUMERS))
@pytest.mark.parametrize("name", list(BAD_IMAGES))
def test_bad_images_are_refused(studio: Studio, graph: Graph, name: str, consumer: str) -> None:
    image, fragments = BAD_IMAGES[name]
    link = CONSUMERS[consumer](studio, graph, studio.image(graph, image))
    message = refused(studio, graph, link)
    others = ("multiple of 8", "overlap is") if consumer == "extend" else ()
    assert any(part in message for part in (*fragments.split("|"), *others)), message


ODD_IMAGES = {
    "1 x 1": torch.full((1, 1, 1, 3), 0.3),
    "10000 x 16": picture(16, 10000),
    "16 x 10000": picture(10000, 16),
    "10000 x 1": torch.rand(1, 1, 10000, 3, generator=torch.Generator().manual_seed(0)),
    "alpha": torch.cat([picture(SIZE, SIZE), torch.zeros(1, SIZE, SIZE, 1)], dim=-1),
    "grey": picture(SIZE, SIZE)[..., :1],
    "half precision": picture(SIZE, SIZE).half(),
    "double precision": picture(SIZE, SIZE).double(),
}


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("name", list(ODD_IMAGES))
def test_odd_images_run(studio: Studio, graph: Graph, name: str, fit: str) -> None:
    image = studio.image(graph, ODD_IMAGES[name])
    made = bare(studio, graph).context(image, fit=fit)
    made.detail(image, SIZE, SIZE, FRAMES, fit=fit)
    results = runs(studio, graph, latent=made.sample(steps=1), positive=made.positive)
    assert results["latent"]["value.samples"].shape == (FRAMES, 4, SIZE // 8, SIZE // 8)


def guidance_latent(studio: Studio, image: Tensor) -> Tensor:
    graph = Graph()
    link = into_guidance(studio, graph, studio.image(graph, image))
    positive = [link[0], 0]
    found = studio.run(graph, positive=positive)["positive"]
    return found["value.0.1.concat_latent_image"]


def test_grey_and_alpha_mean_what_they_show(studio: Studio) -> None:
    generator = torch.Generator().manual_seed(0)
    grey = picture(SIZE, SIZE)[..., :1]
    colour = grey.expand(1, SIZE, SIZE, 3)
    alpha = torch.cat([colour, torch.rand(1, SIZE, SIZE, 1, generator=generator)], dim=-1)
    expected = guidance_latent(studio, colour)
    # Another memory layout rounds otherwise.
    for image in (grey, alpha):
        assert (guidance_latent(studio, image) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("images", "videos", "works"), [(2, 1, True), (2, 2, True), (3, 2, False), (2, 4, False)]
)
def test_image_batches(studio: Studio, graph: Graph, images: int, videos: int, works: bool) -> None:
    batch = torch.cat([picture(SIZE, SIZE, phase) for phase in range(images)])
    image = studio.image(graph, batch)
    made = bare(studio, graph).context(image)
    made.detail(image, SIZE, SIZE, FRAMES, batch_size=videos)
    if not works:
        assert "one for each video" in refused(studio, graph, made.latent)
        return
    found = runs(studio, graph, latent=made.sample(steps=1))["latent"]["value.samples"]
    assert found.shape[0] == images * FRAMES


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"], ids=str)
def test_picture_files_that_are_none(studio: Studio, graph: Graph, data: bytes) -> None:
    (studio.server.base / "input" / "broken.png").write_bytes(data)
    image = graph.add("LoadImage", image="broken.png")[0]
    error = outcome(studio, graph, into_guidance(studio, graph, image))
    assert error is not None
    assert error.node_type == "LoadImage"
