"""Sketch Control: which frame each sketch is for, and how often sketches are resized."""

from typing import Any

import pytest
import torch
from fakes import conditioning
from pack.nodes import sketch
from pack.nodes.checks import InputError
from pack.nodes.host import keys
from pack.nodes.host.window_hints import control_for_frames
from pack.nodes.sketch import SketchControl, parse_frames, video_length


@pytest.mark.parametrize(
    ("text", "sketches", "expected"),
    [("", 5, [0, 1, 2, 3, 4]), ("0, 3,-1", 3, [0, 3, 4]), (" 2 ", 1, [2])],
)
def test_frames_by_number(text: str, sketches: int, expected: list[int]) -> None:
    assert list(parse_frames(text, sketches, 5)) == expected


@pytest.mark.parametrize(
    ("text", "sketches", "message"),
    [
        ("", 3, "3 sketches for 5 frames"),
        ("0, 1", 3, "frames is '0, 1'"),
        ("0, x", 2, "frames is '0, x'"),
        ("5", 1, "frames is '5'"),
        ("4, -1", 2, "frames is '4, -1'"),
    ],
)
def test_other_frames_are_refused(text: str, sketches: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_frames(text, sketches, 5)


def test_the_length_is_the_conditionings() -> None:
    assert video_length([*conditioning(), *conditioning(**{keys.NUM_FRAMES: 7})]) == 7
    with pytest.raises(InputError, match="does not know the video's length"):
        video_length(conditioning())


def test_sketches_are_resized_once_for_all_context_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []
    resize = sketch.fit_pictures

    def counted(images: torch.Tensor, *size: Any) -> torch.Tensor:
        sizes.append(size)
        return resize(images, *size)

    monkeypatch.setattr(sketch, "fit_pictures", counted)
    patcher: Any = None
    control = SketchControl(patcher, torch.rand(2, 1, 20, 20), [0, 3], 4)
    hints = [
        control_for_frames(control, window)._hints(16, 16, torch.device("cpu"), torch.float32)
        for window in ([0, 1], [2, 3], [0, 1])
    ]
    assert sizes == [(16, 16, "crop")]
    assert all(torch.equal(each, hints[0]) for each in hints)
    control._hints(16, 16, torch.device("meta"), torch.float32)
    assert len(sizes) == 2
    control.cleanup()
    assert control.fitted == []
