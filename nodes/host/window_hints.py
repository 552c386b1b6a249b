"""ControlNet hints cut to the frames of each context window.

The host's windows slice conditions, but every window would see the hints of the first frames.
"""

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .protocols import Control, Executor, Options
from .windows import window_indices

WRAPPER_KEY = "dynamicrafter_window_hints"


def slice_hints(
    executor: Executor,
    model: object,
    conds: Sequence[Sequence[Options] | None],
    x_in: Tensor,
    timestep: Tensor,
    model_options: Options,
) -> list[Tensor]:
    """The host's CALC_COND_BATCH wrapper: within a context window every control sees its frames."""
    window = model_options.get("transformer_options", {}).get("context_window")
    indices = [] if window is None else window_indices(window)
    if len(indices) != x_in.shape[0]:
        return executor(model, conds, x_in, timestep, model_options)
    # The host batches only those conditions that share one control object.
    cut: dict[int, Control] = {}

    def in_window(entry: Options) -> Options:
        control = entry.get("control")
        if control is None:
            return entry
        if id(control) not in cut:
            cut[id(control)] = control_for_frames(control, indices)
        return {**entry, "control": cut[id(control)]}

    windowed = [None if cond is None else [in_window(entry) for entry in cond] for cond in conds]
    return executor(model, windowed, x_in, timestep, model_options)


def control_for_frames(control: Control, indices: list[int]) -> Control:
    """A copy of a control and of those chained to it, with the hints of the frames `indices`."""
    clone = copy.copy(control)
    # Prepared for the whole video, so the copy has to prepare its own.
    clone.cond_hint = clone.extra_concat = None
    clone.cond_hint_original = _rows(control.cond_hint_original, indices)
    clone.extra_concat_orig = [_rows(extra, indices) for extra in control.extra_concat_orig]
    if control.previous_controlnet is not None:
        clone.previous_controlnet = control_for_frames(control.previous_controlnet, indices)
    devices = getattr(control, "multigpu_clones", None)
    if devices:
        clone.multigpu_clones = {d: control_for_frames(c, indices) for d, c in devices.items()}
    return clone


def _rows(hint: Any, indices: list[int]) -> Any:
    """Rows of a hint per frame; one hint for all frames stays, too few repeat, as in the host."""
    if not isinstance(hint, Tensor) or hint.shape[0] == 1:
        return hint
    return hint[[i % hint.shape[0] for i in indices]]
