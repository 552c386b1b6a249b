"""Storyboard: which shots it takes, and how it hands each one on."""

from typing import Any

import pytest
import torch
from pack.nodes import storyboard
from pack.nodes.checks import InputError
from pack.nodes.host.guider import Guidance
from pack.nodes.inputs import Shot
from pack.nodes.sampling import SamplerSettings
from pack.nodes.storyboard import Director, Models, ShotNode, Take, check_shots
from torch import Tensor

LENGTH, OVERLAP, SEED = 4, 2, 5
IMAGE = torch.full((1, 16, 16, 3), 0.5)


def shot(image: Tensor | None = IMAGE, length: int = LENGTH) -> Shot:
    return Shot("waves", length, 0, image)


@pytest.mark.parametrize(
    ("shots", "mode", "overlap", "message"),
    [
        ((), "animate", 1, "has no shots"),
        ((shot(None),), "animate", 1, "The first shot has no image"),
        ((shot(), shot(None)), "animate", LENGTH, "their lengths allow 3"),
        ((shot(length=2), shot(None)), "animate", 3, "their lengths allow 2"),
        ((shot(),), "interpolate", 1, "needs 2 or more"),
        ((shot(), shot(None), shot()), "interpolate", 1, "Shot 2 has no image"),
    ],
)
def test_wrong_storyboards_are_explained(
    shots: tuple[Shot, ...], mode: str, overlap: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_shots(shots, mode, overlap)


def test_shots_with_images_need_no_room_for_an_overlap() -> None:
    check_shots((shot(), shot(length=2)), "animate", 1000)
    check_shots((shot(), shot()), "interpolate", 1000)


def spoiled() -> Tensor:
    image = IMAGE.clone()
    image[0, 3, 5, 1] = float("nan")
    return image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (spoiled(), "not finite"),
        (torch.zeros(1, 0, 16, 3), "is empty"),
        (torch.zeros(1, 16, 16, 2), "expected a batch of images"),
        (torch.zeros(16, 16, 3), "expected a batch of images"),
        (torch.zeros(2, 16, 16, 3), "2 images; expected 1"),
    ],
    ids=["NaN", "empty", "two channels", "no batch", "two images"],
)
def test_a_shots_image_is_refused_before_anything_is_sampled(image: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ShotNode.execute("waves", LENGTH, 0, image)


def test_a_shots_prompt_is_refused_before_anything_is_sampled() -> None:
    with pytest.raises(ValueError, match="'--neg' in a prompt begins a negative prompt"):
        ShotNode.execute("waves --neg blurry", LENGTH, 0, IMAGE)


def test_shots_make_a_chain() -> None:
    first = ShotNode.execute("waves", LENGTH, 3, IMAGE).args[0]
    ((one, two),) = ShotNode.execute("storm", 9, 0, None, first).args
    assert (one.prompt, one.length, one.fps) == ("waves", LENGTH, 3)
    assert (two.prompt, two.length, two.image) == ("storm", 9, None)


class Recorder(Director):
    """A director whose shots are the numbers of their seeds."""

    def _from_image(self, shot: Shot, image: Any, seed: int, end_image: Any = None) -> Take:
        calls.append(("image", float(image[0, 0, 0, 0]), seed, end_image is not None))
        return self._take(shot, seed)

    def _continue(self, shot: Shot, before: Take, seed: int) -> Take:
        calls.append(("continue", before.latent["seed"], seed, False))
        return self._take(shot, seed)

    def _take(self, shot: Shot, seed: int) -> Take:
        frames = torch.arange(shot.length) + 10.0 * seed
        return Take(frames[:, None, None, None].expand(-1, 2, 2, 3), {"seed": seed})


calls: list[tuple[str, float, int, bool]] = []


@pytest.fixture
def director() -> Recorder:
    calls.clear()
    models = Models(None, None, None, None, None)
    settings = SamplerSettings(2)
    return Recorder(models, "", 16, 16, "crop", OVERLAP, settings, Guidance(3, 3))


def test_shots_continue_or_cut(director: Recorder) -> None:
    video = director.animate((shot(), shot(None), shot(IMAGE * 2)), SEED)
    assert calls == [
        ("image", 0.5, 5, False),
        ("continue", 5, 6, False),
        ("image", 1.0, 7, False),
    ]
    numbers = video[:, 0, 0, 0].tolist()
    assert len(numbers) == 3 * LENGTH - OVERLAP
    assert numbers[:2] == [50, 51] and numbers[4:6] == [62, 63] and numbers[6:] == [70, 71, 72, 73]


def test_pieces_lead_from_image_to_image(director: Recorder) -> None:
    video = director.interpolate((shot(), shot(IMAGE * 2), shot(IMAGE)), SEED)
    assert calls == [("image", 0.5, 5, True), ("image", 1.0, 6, True)]
    numbers = video[:, 0, 0, 0].tolist()
    assert numbers == [50, 51, 52, (53 + 60) / 2, 61, 62, 63]


def test_the_storyboard_needs_no_other_node() -> None:
    """It calls what nodes do, never a node: their inputs may grow."""
    from pack.nodes import STAGES

    nodes = {node.__name__ for stage in STAGES for node in stage.NODES}
    assert set(vars(storyboard)) & nodes == {"ShotNode", "Storyboard"}
