"""PIC, FVD and KVD through the server, against their direct computation."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graphs import Graph, Link, Node
from studio import PATIENCE, Studio
from torch import Tensor, nn

pytestmark = pytest.mark.server

FRAMES, SIZE = 4, 16
VALUE = "value"


class Means(nn.Module):
    """`[N, 3, T, H, W]` to the channels' means of the first and the last frame: `[N, 6]`."""

    def forward(self, videos: Tensor) -> Tensor:
        return torch.cat([videos[:, :, i].mean(dim=[2, 3]) for i in (0, -1)], dim=1)


class Writes(nn.Module):
    def forward(self, videos: Tensor) -> Tensor:
        torch.save(videos, "written.pt")
        return videos.mean(dim=[2, 3, 4])


@pytest.fixture(scope="module")
def extractors(studio: Studio) -> Path:
    """The server's folder of feature extractors, with files for the tests."""
    folder = studio.server.base / "models" / "feature_extractors"
    folder.mkdir(exist_ok=True)
    for name, module in (("means.pt", Means()), ("writes.pt", Writes())):
        torch.jit.script(module).save(str(folder / name))  # type: ignore[union-attr]
    (folder / "page.pt").write_text("<html>not found</html>")
    (folder / "notes.txt").write_text("no extractor")
    return folder


def video_set(seed: int, clips: int, shift: float = 0.0, size: int = SIZE) -> Tensor:
    """`[N, T, H, W, 3]` in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.rand(clips, FRAMES, 1, 1, 3, generator=generator) * 0.5 + shift
    return (levels + 0.2 * torch.rand(clips, FRAMES, size, size, 3, generator=generator)).clamp(
        0, 1
    )


def distance_node(graph: Graph, real: Link, generated: Link, **options: Any) -> Node:
    settings = {
        "extractor_name": "means.pt",
        "preprocessing": "none",
        "num_frames": FRAMES,
        "real_stride": 1,
        **options,
    }
    return graph.add(
        "DynamiCrafterVideoDistance", real_images=real, generated_images=generated, **settings
    )


def pic_node(graph: Graph, images: Link, image: Link, **options: Any) -> Node:
    settings = {"distance": "pixels", "num_frames": 0, "fit": "crop", **options}
    return graph.add("DynamiCrafterPIC", images=images, image=image, **settings)


def features(videos: Tensor) -> np.ndarray:
    return videos[:, [0, -1]].mean(dim=(2, 3)).flatten(1).double().numpy()


def expected_fvd(x: np.ndarray, y: np.ndarray) -> float:
    linalg = pytest.importorskip("scipy.linalg")
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    d = x.mean(0) - y.mean(0)
    return float(d @ d + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real))


def expected_kvd(x: np.ndarray, y: np.ndarray) -> float:
    kernel = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3  # noqa: E731
    within = [k[~np.eye(len(k), dtype=bool)].mean() for k in (kernel(x, x), kernel(y, y))]
    return float(sum(within) - 2 * kernel(x, y).mean())


def report_of(studio: Studio, graph: Graph, node: Node) -> str:
    """What the node shows."""
    return studio.server.prompt(graph.prompt, timeout=PATIENCE)[node.name]["text"][0]


@pytest.mark.usefixtures("extractors")
def test_fvd_and_kvd_by_value(studio: Studio, graph: Graph) -> None:
    real, generated = video_set(0, 9), video_set(1, 7, shift=0.2)
    node = distance_node(
        graph,
        studio.image(graph, real.flatten(0, 1)),
        studio.image(graph, generated.flatten(0, 1)),
    )
    report = report_of(studio, graph, node)
    found = studio.run(graph, fvd=node[0], kvd=node[1])
    x, y = features(real), features(generated)
    assert float(found["fvd"][VALUE]) == pytest.approx(expected_fvd(x, y), rel=1e-4)
    assert float(found["kvd"][VALUE]) == pytest.approx(expected_kvd(x, y), rel=1e-3)
    lines = [line.strip() for line in report.splitlines()]
    assert lines[0] == f"FVD = {expected_fvd(x, y):.4f}"
    assert lines[2].startswith("real: real: 9 clips of 4 frames, stride 1, 16x16, means.pt (sha256")
    assert "7 clips of 4 frames, stride 1, 16x16" in lines[3]
    assert lines[4].startswith("7 clips: FVD falls as clips are added")


@pytest.mark.usefixtures("extractors")
def test_stride_takes_every_nth_real_image(studio: Studio, graph: Graph) -> None:
    real, generated = video_set(0, 5), video_set(1, 6)
    rows = real.flatten(0, 1).repeat_interleave(3, dim=0)
    rows[1::3], rows[2::3] = 0.0, 1.0
    given = studio.image(graph, generated.flatten(0, 1))
    node = distance_node(graph, studio.image(graph, rows), given, real_stride=3)
    assert "5 clips of 4 frames, stride 3" in report_of(studio, graph, node)
    found = studio.run(graph, fvd=node[0])
    expected = expected_fvd(features(real), features(generated))
    assert float(found["fvd"][VALUE]) == pytest.approx(expected, rel=1e-4)


def test_extractors_are_the_files_of_their_folder(studio: Studio, extractors: Path) -> None:
    info = studio.server.object_info()["DynamiCrafterVideoDistance"]
    kind, *options = info["input"]["required"]["extractor_name"]
    names = options[0].get("options", kind)
    files = {path.name for path in extractors.iterdir()}
    assert {"means.pt", "page.pt", "writes.pt", "notes.txt"} <= files
    assert set(names) == {name for name in files if name.endswith(".pt")}


@pytest.mark.parametrize(
    ("real", "generated", "options", "message"),
    [
        ((1, SIZE), (3, SIZE), {}, "real_images gives 1 clip of 4 frames; FVD and KVD need at"),
        ((3, SIZE), (3, 24), {}, "real_images are 16 x 16 pixels and generated_images 24 x 24"),
        ((3, SIZE), (3, SIZE), {"num_frames": 5}, "not a whole number of clips of 5 frames"),
        ((3, SIZE), (3, SIZE), {"preprocessing": "i3d"}, "set preprocessing to none"),
        ((3, SIZE), (3, SIZE), {"extractor_name": "writes.pt"}, "uses 'save'"),
        ((3, SIZE), (3, SIZE), {"extractor_name": "page.pt"}, "is not a TorchScript file"),
        ((3, SIZE), (3, SIZE), {"extractor_name": "gone.pt"}, "no feature extractor 'gone.pt'"),
        ((3, SIZE), (3, SIZE), {"extractor_name": "notes.txt"}, "no feature extractor 'notes.txt'"),
        (
            (3, SIZE),
            (3, SIZE),
            {"extractor_name": "../checkpoints/x.pt"},
            "no feature extractor '../checkpoints/x.pt'",
        ),
    ],
    ids=["few", "sizes", "frames", "i3d", "unsafe", "broken", "missing", "suffix", "outside"],
)
@pytest.mark.usefixtures("extractors")
def test_wrong_sets_and_files_are_explained(
    studio: Studio,
    graph: Graph,
    real: tuple[int, int],
    generated: tuple[int, int],
    options: dict[str, Any],
    message: str,
) -> None:
    links = [
        studio.image(graph, video_set(i, count, size=size).flatten(0, 1))
        for i, (count, size) in enumerate((real, generated))
    ]
    assert message in studio.error(graph, distance_node(graph, *links, **options)[0])


@pytest.mark.usefixtures("extractors")
def test_a_refused_file_has_not_run(studio: Studio, graph: Graph) -> None:
    videos = studio.image(graph, video_set(0, 3).flatten(0, 1))
    studio.error(graph, distance_node(graph, videos, videos, extractor_name="writes.pt")[0])
    assert not list(studio.server.base.rglob("written.pt"))


@pytest.mark.parametrize("node", ["distance", "pic"])
@pytest.mark.usefixtures("extractors")
def test_frames_that_are_not_finite_are_explained(studio: Studio, graph: Graph, node: str) -> None:
    images = video_set(0, 3).flatten(0, 1)
    good = studio.image(graph, images)
    images[5, 0, 0, 0] = float("nan")
    bad = studio.image(graph, images)
    made = pic_node(graph, bad, good) if node == "pic" else distance_node(graph, good, bad)
    name = "images" if node == "pic" else "generated_images"
    message = "has pixels that are not finite (NaN or infinite), in 1 of 12 frames, first frame 5"
    assert f"{name} {message}" in studio.error(graph, made[0])


def test_pic_with_a_known_distance(studio: Studio, graph: Graph) -> None:
    # The frames are 0, 0.1, 0.2 and 0.3 away from the image; the second video 0.4 more.
    steps = torch.arange(FRAMES).view(1, FRAMES, 1, 1, 1) * 0.1
    videos = (steps + torch.tensor([0.0, 0.4]).view(2, 1, 1, 1, 1)).expand(2, FRAMES, SIZE, SIZE, 3)
    images = studio.image(graph, videos.flatten(0, 1))
    one = studio.image(graph, torch.zeros(1, SIZE, SIZE, 3))
    each = studio.image(graph, torch.stack([videos[0, 0], videos[1, 0]]))
    against_one, against_each = pic_node(graph, images, one), pic_node(graph, images, each)
    report = report_of(studio, graph, pic_node(graph, images, each, num_frames=FRAMES))
    found = studio.run(graph, one=against_one[0], each=against_each[0])
    assert float(found["one"][VALUE]) == pytest.approx(1 - (0.15 + 0.55) / 2, abs=1e-5)
    assert float(found["each"][VALUE]) == pytest.approx(1 - 0.15, abs=1e-5)
    assert report.startswith("1 - distance = 0.8500\n  2 videos of 4 frames, 16x16, images fitted")
    assert "not the published PIC, which uses DreamSim" in report


def test_pic_fits_the_image_to_the_video(studio: Studio, graph: Graph) -> None:
    # A wide image whose centre is white: crop sees white alone, stretch the black sides, too.
    wide = torch.zeros(1, SIZE, 2 * SIZE, 3)
    wide[:, :, SIZE // 2 : SIZE // 2 + SIZE] = 1.0
    image = studio.image(graph, wide)
    images = studio.image(graph, torch.ones(2, SIZE, SIZE, 3))
    crop, stretch = (pic_node(graph, images, image, fit=fit)[0] for fit in ("crop", "stretch"))
    found = studio.run(graph, crop=crop, stretch=stretch)
    assert float(found["crop"][VALUE]) == pytest.approx(1.0)
    assert float(found["stretch"][VALUE]) == pytest.approx(0.5, abs=0.02)


def test_pic_with_clip_vision_is_the_cosine_of_embeddings(studio: Studio, graph: Graph) -> None:
    loaded = graph.add(
        "DynamiCrafterCheckpointLoader",
        ckpt_name=studio.small_checkpoint(),
        variant="auto",
        weight_dtype="fp32",
    )
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(3, 32, 32, 3, generator=generator)
    images = studio.image(graph, frames)
    encoded = graph.add("CLIPVisionEncode", clip_vision=loaded[3], image=images, crop="none")
    options = {"distance": "clip_vision", "clip_vision": loaded[3]}
    against_first = pic_node(graph, images, studio.image(graph, frames[:1]), **options)
    found = studio.run(graph, pic=against_first[0], encoded=encoded[0])
    embeddings = next(v for k, v in found["encoded"].items() if k.endswith("image_embeds"))
    cosines = torch.cosine_similarity(embeddings[:1].double(), embeddings.double(), dim=1)
    assert float(cosines.min()) < 0.9999
    assert float(found["pic"][VALUE]) == pytest.approx(float(cosines.mean()), abs=1e-4)


@pytest.mark.skipif(
    importlib.util.find_spec("dreamsim") is not None, reason="DreamSim is installed"
)
def test_without_dreamsim_pic_says_how_to_install_it(studio: Studio, graph: Graph) -> None:
    images = studio.image(graph, video_set(0, 1)[0])
    message = studio.error(graph, pic_node(graph, images, images, distance="dreamsim")[0])
    assert "PIC was not computed" in message
    assert "`python -m pip install dreamsim`" in message
