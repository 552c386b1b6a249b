"""Conditions with a row per video instead of a row per latent frame."""

from typing import Any

import comfy.conds
import comfy.utils
from torch import Tensor


class PerVideo(comfy.conds.CONDRegular):
    """A condition whose rows are videos, while the host's batch counts frames.

    The host repeats conditions to its batch size; here that would repeat every video's tokens for
    each of its frames.
    """

    def __init__(self, cond: Tensor, num_frames: int):
        super().__init__(cond)
        self.num_frames = num_frames

    def _copy_with(self, cond: Tensor) -> "PerVideo":
        return self.__class__(cond, self.num_frames)

    def process_cond(self, batch_size: int, **kwargs: Any) -> "PerVideo":
        del kwargs  # areas do not cut tokens
        videos = max(1, batch_size // self.num_frames)
        return self._copy_with(comfy.utils.repeat_to_batch_size(self.cond, videos))


class PerVideoText(PerVideo, comfy.conds.CONDCrossAttn):
    """Text rows per video; prompts of different lengths batch as the host's own do."""


class PerVideoTokens(PerVideo):
    """Image tokens, which know how the frames share them (`frame_tokens`)."""

    def __init__(self, cond: Tensor, num_frames: int, frame_tokens: str):
        super().__init__(cond, num_frames)
        self.frame_tokens = frame_tokens

    def _copy_with(self, cond: Tensor) -> "PerVideoTokens":
        return self.__class__(cond, self.num_frames, self.frame_tokens)
