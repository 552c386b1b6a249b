"""What each condition becomes in a context window."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pack.nodes.checks import InputError
from pack.nodes.host.conds import PerVideo, PerVideoTokens
from pack.nodes.host.windows import resize_for_window, window_indices

CPU = torch.device("cpu")


def window(*frames: int, anchor: int | None = None, dim: int = 0) -> Any:
    return SimpleNamespace(index_list=list(frames), causal_anchor_index=anchor, dim=dim)


def resized(key: str, value: Any, seen: Any, rows: int = 8) -> Any:
    return resize_for_window(key, value, seen, torch.zeros(rows, 4, 2, 2), CPU, ())


@pytest.mark.parametrize(
    ("anchor", "expected"), [(None, [2, 3]), (-1, [2, 3]), (0, [0, 2, 3]), (1, [1, 2, 3])]
)
def test_the_anchor_frame_comes_first(anchor: int | None, expected: list[int]) -> None:
    assert window_indices(window(2, 3, anchor=anchor)) == expected


def test_a_window_is_a_video_of_its_length() -> None:
    value = SimpleNamespace(cond=8)
    assert resized("num_video_frames", value, window(2, 3, 4)).cond == 3
    assert resized("num_video_frames", value, window(2, 3, 4, anchor=0)).cond == 4
    speed = resized("speed", PerVideo(torch.tensor([24]), 8), window(2, 3, 4))
    assert (speed.cond.tolist(), speed.num_frames) == ([24], 3)
    assert resized("another", value, window(2, 3)) is None


@pytest.mark.parametrize(
    ("anchor", "frame_tokens", "slots"),
    [(None, "auto", [0, 1, 2]), (0, "auto", [0, 0, 1, 2]), (0, "shared", [0, 1, 2])],
)
def test_an_anchor_frame_shares_the_first_slot(
    anchor: int | None, frame_tokens: str, slots: list[int]
) -> None:
    tokens = torch.arange(3.0).repeat_interleave(16)[None, :, None]  # [1, 3 slots of 16, 1]
    value = PerVideoTokens(tokens, 8, frame_tokens)
    found = resized("image_context", value, window(4, 5, 6, anchor=anchor))
    assert found.cond[0, ::16, 0].tolist() == slots


@pytest.mark.parametrize(
    ("seen", "frames", "message"),
    [(window(0, 1, dim=2), 8, "set dim to 0"), (window(0, 1), 4, "2 videos of 4 frames")],
)
def test_windows_over_other_things_are_refused(seen: Any, frames: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resized("num_video_frames", SimpleNamespace(cond=frames), seen)
