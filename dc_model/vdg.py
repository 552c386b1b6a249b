"""Visual detail guidance (VDG): frame latents laid out as the video that joins the noise.

`join` concatenates it to the noisy latent on channels, and fine detail of the given frames reaches
the video past the bottleneck of the image tokens. In ComfyUI the host concatenates: `BaseModel` in
comfy/model_base.py, `_apply_model`, joins the `c_concat` of `nodes/host/model.py` to the noise.
Source: docs/method.md#visual-detail-guidance.

Latents are `[N, C, h, w]` per image, already multiplied by the VAE's scale factor; results are
`[N, C, T, h, w]`. Frames that are not given are exact zeros.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .frames import check_num_frames, frame_indices, unfold_frames


def animate(first: Tensor, num_frames: int) -> Tensor:
    """The image's latent at every frame: `[N, C, h, w]` to `[N, C, T, h, w]`."""
    check_num_frames(num_frames)
    return first.unsqueeze(2).repeat(1, 1, num_frames, 1, 1)


def interpolate(first: Tensor, last: Tensor, num_frames: int) -> Tensor:
    """The two images at the two ends, zeros between: `[N, C, T, h, w]`.

    With one frame only `first` remains. Raises ValueError if the shapes differ.
    """
    if first.shape != last.shape:
        raise ValueError(
            f"The first image's latent has shape {list(first.shape)} and the last image's "
            f"{list(last.shape)}; give both images the same size and count."
        )
    video = _empty(first, num_frames)
    video[:, :, -1] = last
    video[:, :, 0] = first
    return video


def loop(first: Tensor, num_frames: int) -> Tensor:
    """The same image at both ends: `[N, C, h, w]` to `[N, C, T, h, w]`.

    The last frame is dropped from the finished video.
    """
    return interpolate(first, first, num_frames)


def keyframes(latents: Tensor, frames: Sequence[int], num_frames: int) -> Tensor:
    """One video with K images at chosen frames: `[K, C, h, w]` to `[1, C, T, h, w]`.

    frames: one per image; negative ones count from the end.
    Raises ValueError for a wrong count, an index outside the video, or two images on one frame.
    """
    if len(frames) != len(latents):
        raise ValueError(
            f"{len(latents)} keyframe images came with {len(frames)} frame numbers; "
            "give one frame number per image."
        )
    video = _empty(latents[:1], num_frames)
    for frame, latent in zip(frame_indices(frames, num_frames, "Keyframe"), latents, strict=True):
        video[0, :, frame] = latent
    return video


def per_frame(latents: Tensor, num_frames: int | None = None) -> Tensor:
    """One image per frame, frame fastest: `[N*T, C, h, w]` to `[N, C, T, h, w]`.

    num_frames: T; None takes the whole batch as one video.
    """
    return unfold_frames(latents, len(latents) if num_frames is None else num_frames)


def join(noisy: Tensor, video: Tensor | None) -> Tensor:
    """The U-Net's input: noisy latents, then visual detail guidance. `[N, 2C, T, h, w]`.

    noisy, video: `[N, C, T, h, w]`; None stands for zeros, as where no frame is given.
    """
    return torch.cat([noisy, torch.zeros_like(noisy) if video is None else video], dim=1)


def _empty(like: Tensor, num_frames: int) -> Tensor:
    check_num_frames(num_frames)
    count, channels, height, width = like.shape
    return like.new_zeros(count, channels, num_frames, height, width)
