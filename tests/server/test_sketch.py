"""Sketch Control on the server: frames with and without a sketch, windows and batches."""

from typing import Any

import pytest
import small_checkpoint
import torch
from family import (
    LENGTH,
    SIZE,
    STEPS,
    Run,
    bare,
    k_sampler,
    published_sample,
    wire,
)
from graphs import Graph, Link
from reference import Reference
from safetensors.torch import load_file, save_file
from studio import Animation, Studio, picture, relative_error
from torch import Tensor

from dc_model.toon.sketch_controlnet import SketchControlNet, sketch_control

pytestmark = pytest.mark.server

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def sketch_file(studio: Studio) -> str:
    path = studio.server.base / "models" / "controlnet" / "sketch_encoder.safetensors"
    return small_checkpoint.write_sketch_controlnet(path).name


def sketched(graph: Graph, made: Animation, file: str, sketches: Link, **options: Any) -> Animation:
    settings = {"frames": "", "strength": 0.6, "start_percent": 0.0, "end_percent": 1.0, **options}
    node = graph.add(
        "DynamiCrafterSketchControl",
        positive=made.positive,
        negative=made.negative,
        control_net_name=file,
        sketches=sketches,
        **settings,
    )
    made.positive, made.negative = node[0], node[1]
    return made


class SketchReference(Reference):
    """The reference with a sketch ControlNet beside its U-Net."""

    def __init__(self, studio: Studio, sketch_file: str, sketches: Tensor, frames: list[int]):
        file = bare(studio, "toon_512")
        super().__init__(studio.checkpoints / file, "toon_512")
        self.network = SketchControlNet(small_checkpoint.SMALL_SKETCH)
        folder = studio.server.base / "models" / "controlnet"
        self.network.load_state_dict(load_file(folder / sketch_file))
        self.network.eval().requires_grad_(False)
        self.hints, self.frames = sketches.mean(dim=-1).unsqueeze(1), frames

    def predict(
        self, x: Tensor, t: int, text: Tensor, speed: int, image: Tensor | None, concat: Tensor
    ) -> Tensor:
        video, times = x.float(), torch.tensor([t])
        control = sketch_control(
            self.network, video, times, text[:, :77], self.hints, self.frames, strength=0.6
        )
        control = {key: list(residuals) for key, residuals in control.items()}
        both = torch.cat([video, concat], dim=1)
        speeds = torch.tensor([speed])
        return self.unet(both, times, text, image, speeds, control=control).double()


@pytest.mark.parametrize("frames", ["0, -1", "", "2"])
def test_sketches_of_some_frames_guide_the_video(
    studio: Studio, graph: Graph, sketch_file: str, frames: str
) -> None:
    named = [int(f) % LENGTH for f in frames.split(",")] if frames else list(range(LENGTH))
    sketches = torch.cat([picture(SIZE, SIZE, i / 2) for i in range(len(named))])
    made = wire(studio, graph, "toon_512")
    sketched(graph, made, sketch_file, studio.image(graph, sketches), frames=frames)
    unit, results = published_sample(studio, graph, made)
    reference = SketchReference(studio, sketch_file, sketches, named)
    run = Run("toon_512", unit, results, reference)
    found = results["latent"]["value.samples"]
    assert relative_error(found, run.expected()) < TOLERANCE
    file = bare(studio, "toon_512")
    free = Run("toon_512", unit, results, Reference(studio.checkpoints / file, "toon_512"))
    assert relative_error(found, free.expected()) > 0.01


def windows(graph: Graph, model: Link) -> Link:
    """Two windows of two frames that do not see each other."""
    return graph.add(
        "ContextWindowsManual",
        model=model,
        context_length=2,
        context_overlap=0,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        dim=0,
        freenoise=False,
        cond_retain_index_list="",
        split_conds_to_windows=False,
        latent_retain_index_list="",
        causal_window_fix=False,
    )[0]


def test_a_sketch_acts_in_the_context_window_of_its_frame(
    studio: Studio, graph: Graph, sketch_file: str
) -> None:
    made = wire(studio, graph, "toon_512")
    made.model = windows(graph, made.model)
    free = k_sampler(graph, made)
    sketched(graph, made, sketch_file, studio.image(graph, picture(SIZE, SIZE)), frames="3")
    results = studio.run(graph, free=free, guided=k_sampler(graph, made))
    found, expected = (results[key]["value.samples"] for key in ("guided", "free"))
    assert relative_error(found[:2], expected[:2]) < 1e-5
    assert relative_error(found[2:], expected[2:]) > 0.01


def test_a_sketch_acts_on_every_video_of_a_batch(
    studio: Studio, graph: Graph, sketch_file: str
) -> None:
    unit = torch.randn(LENGTH, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    latents = {}
    for videos in (1, 2):
        made = wire(studio, graph, "toon_512", batch_size=videos)
        sketched(graph, made, sketch_file, studio.image(graph, picture(SIZE, SIZE)), frames="1")
        noise = studio.noise(graph, unit.repeat(videos, 1, 1, 1))
        latents[f"videos_{videos}"] = made.sample(noise=noise, steps=STEPS)
    results = studio.run(graph, **latents)
    one = results["videos_1"]["value.samples"]
    assert relative_error(results["videos_2"]["value.samples"], torch.cat([one, one])) < 1e-4


@pytest.mark.parametrize(
    ("frames", "message"),
    [("", "2 sketches for 4 frames"), ("0", "one frame for each"), ("0, 9", "outside the video")],
)
def test_sketches_that_do_not_fit_are_refused(
    studio: Studio, graph: Graph, sketch_file: str, frames: str, message: str
) -> None:
    made = wire(studio, graph, "toon_512")
    two = studio.image(graph, torch.cat([picture(SIZE, SIZE)] * 2))
    sketched(graph, made, sketch_file, two, frames=frames)
    assert made.positive is not None
    assert message in studio.error(graph, made.positive)


def test_sketch_control_wants_a_length_and_its_own_file(
    studio: Studio, graph: Graph, sketch_file: str
) -> None:
    made = Animation(studio, graph, studio.small_checkpoint("toon_512")).text("a")
    sketches = studio.image(graph, picture(SIZE, SIZE))
    sketched(graph, made, sketch_file, sketches, frames="0")
    assert made.positive is not None
    assert "after Visual Detail Guidance" in studio.error(graph, made.positive)
    folder = studio.server.base / "models" / "controlnet"
    save_file({"weight": torch.zeros(2)}, folder / "other.safetensors")
    graph = Graph()
    made = sketched(
        graph,
        wire(studio, graph, "toon_512"),
        "other.safetensors",
        studio.image(graph, picture(SIZE, SIZE)),
        frames="0",
    )
    assert made.positive is not None
    assert "other.safetensors: The file holds no sketch ControlNet" in studio.error(
        graph, made.positive
    )
