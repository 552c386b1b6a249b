"""What each of our conditions becomes in one of the host's context windows.

A window is treated as a video of its own length: docs/comfyui.md#context-windows.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import comfy.conds
import comfy.context_windows
import torch
from torch import Tensor

from ...dc_model.frames import QUERIES_PER_FRAME
from ..checks import InputError
from .conds import PerVideo, PerVideoTokens
from .protocols import Executor, Window


def check_overlap(
    executor: Executor, model: object, noise_shape: Sequence[int], *args: Any, **kwargs: Any
) -> Any:
    """The host's PREPARE_SAMPLING wrapper: refuses windows that never advance.

    Raises InputError before the model loads, where the host would divide by nothing or sample no
    window at all.
    """
    handler: Any = (kwargs.get("model_options") or {}).get("context_handler")
    if isinstance(handler, comfy.context_windows.IndexListContextHandler):
        length, overlap = handler.context_length, handler.context_overlap
        schedules = comfy.context_windows.ContextSchedules
        moves_on = handler.context_schedule.name == schedules.BATCHED
        if overlap >= length and noise_shape[0] > length and (handler.freenoise or not moves_on):
            raise InputError(
                f"Context windows of {length} frames overlap by {overlap} and never "
                f"advance; set context_overlap to 0 to {length - 1}."
            )
    return executor(model, noise_shape, *args, **kwargs)


def window_indices(window: Window) -> list[int]:
    """Frames that the network sees: the window's own, after the anchor frame if there is one.

    The host's `causal_window_fix` puts the frame before a window in front of it and drops the
    network's output for it.
    """
    anchor: int | None = getattr(window, "causal_anchor_index", None)
    if anchor is None or anchor < 0:
        return list(window.index_list)
    return [anchor, *window.index_list]


def resize_for_window(
    key: str,
    value: Any,
    window: Window,
    x_in: Tensor,
    device: torch.device,
    retain_index_list: Iterable[int],
) -> comfy.conds.CONDRegular | None:
    """Condition `key` for `window`, or None where the host's own slicing is right.

    Raises InputError when the windows do not run over the frames of one video.
    """
    frames = len(window_indices(window))
    if key == "num_video_frames":
        _check_one_video(value.cond, window, x_in)
        return comfy.conds.CONDConstant(frames)
    if key == "image_context":
        tokens = _with_anchor_slot(value, frames, anchors=frames - len(window.index_list))
        return PerVideo(tokens.to(device), frames)
    if key == "speed":
        return PerVideo(value.cond.to(device), frames)
    if key in ("c_crossattn", "crossattn_controlnet"):
        if value.cond.shape[0] == x_in.shape[0] and not isinstance(value, PerVideo):
            return value._copy_with(window.get_tensor(value.cond, device))
        return value._copy_with(value.cond.to(device))
    if key == "c_concat":
        return value._copy_with(
            window.get_tensor(value.cond, device, retain_index_list=list(retain_index_list))
        )
    return None


def _check_one_video(num_frames: int, window: Window, x_in: Tensor) -> None:
    if window.dim != 0:
        raise InputError(
            f"Context windows run along dimension {window.dim} of the latent, but the frames of a "
            "DynamiCrafter video are dimension 0; set dim to 0."
        )
    if num_frames != x_in.shape[0]:
        raise InputError(
            f"Context windows got {x_in.shape[0] // num_frames} videos of {num_frames} frames in "
            "one batch, which they would mix; set batch_size to 1, or take the window node out."
        )


def _with_anchor_slot(value: PerVideoTokens, frames: int, anchors: int) -> Tensor:
    """Image tokens belong to frame slots, not to absolute frames: every window starts at slot 0.

    An anchor frame shares the first slot: a full window still gets a slot per frame.
    """
    tokens = value.cond
    slots = tokens.shape[1] // QUERIES_PER_FRAME
    if not anchors or value.frame_tokens == "shared" or slots != frames - anchors or slots < 2:
        return tokens
    return torch.cat([tokens[:, :QUERIES_PER_FRAME], tokens], dim=1)
