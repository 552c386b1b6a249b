"""ControlNet hints in a window: the rows of its frames, for every control in the chain."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pack.nodes.host.window_hints import control_for_frames, slice_hints


def control(rows: int, before: Any = None) -> Any:
    hints = torch.arange(float(rows))[:, None, None, None]
    return SimpleNamespace(
        cond_hint=hints,
        cond_hint_original=hints,
        extra_concat=None,
        extra_concat_orig=[hints],
        previous_controlnet=before,
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(8, [5, 6]), (1, [0]), (4, [1, 2])],  # too few hints start over
)
def test_each_control_of_a_chain_sees_its_frames(rows: int, expected: list[int]) -> None:
    given = control(8, before=control(rows))
    cut = control_for_frames(given, [5, 6])
    assert cut.cond_hint is None
    assert cut.cond_hint_original.flatten().tolist() == [5, 6]
    assert cut.previous_controlnet.cond_hint_original.flatten().tolist() == expected
    assert cut.previous_controlnet.extra_concat_orig[0].flatten().tolist() == expected
    assert given.cond_hint is not None


def test_conditions_that_share_a_control_share_its_copy() -> None:
    shared = control(8)
    conds = [[{"control": shared}, {"control": shared}, {}], None]
    window = SimpleNamespace(index_list=[2, 3], causal_anchor_index=None)
    options = {"transformer_options": {"context_window": window}}
    x, t = torch.zeros(2, 4, 2, 2), torch.zeros(2)
    # The executor gets (model, conds, x, t, options) and returns its conds here.
    seen = slice_hints(lambda *args: args[1], None, conds, x, t, options)
    ((one, two, none), missing) = seen
    assert one["control"] is two["control"] is not shared
    assert "control" not in none and missing is None
