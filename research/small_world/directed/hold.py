"""How well what may not move stays the picture.

Its latents are held exactly, but the decoder mixes places. So each video is measured twice: as it
is decoded, and with the picture laid over what may not move, as the workflow *Move one region*
does.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dc_model.motion.clocks import ALL, Clocks, Reference
from dc_model.motion.warp import grown
from dc_model.pipeline import Pipeline

from ..judge.measures import psnr
from ..judge.pairs import held_out
from ..world.render import object_mask, render_clip, render_frame
from ..world.scenes import NUM_FRAMES, SIZE, Scene
from .scenes import Figures, batches, decoded, make_videos, note, reference_of

MARGIN = 4  # Pixels around the object's way that may move, too.
FAR = 12  # Pixels from what may move; from there on the worst frame is measured.
# Pixels from what may move, between which is measured.
BANDS = (0, 4, 8, 12, 16, 24, SIZE)


def judge(pipeline: Pipeline, _clocks: Clocks, count: int, first: int = 0) -> Figures:
    """PSNR in dB of what may not move, against the picture unless said otherwise.

    video, vae: in the worst frame, far from what may move; vae is of the true clip by the VAE
    alone. By pixels from what may move, over all frames: the same two, and the video against the
    still picture by the VAE, whose latents are the same there. laid over: the largest difference of
    any held pixel to the picture once that is laid over, of 1.
    """
    scenes, found = held_out(first + count)[first:], Figures()
    for part in batches(count):
        pictures = torch.from_numpy(np.stack([render_frame(s, 0.0) for s in scenes[part]]))
        ways = [way_of(scene) for scene in scenes[part]]
        held = [hold(pipeline, *pair) for pair in zip(pictures, ways, strict=True)]
        videos = make_videos(pipeline, scenes[part], held, first + part.start)
        stills = by_the_vae(pipeline, pictures)
        for i, scene in enumerate(scenes[part]):
            clip = by_the_vae(pipeline, torch.from_numpy(render_clip(scene)))
            picture = pictures[i].permute(1, 2, 0).numpy()
            figures = measure(videos[i], clip, picture, stills[i], ways[i])
            note(found, **figures)
    return found


def way_of(scene: Scene) -> Tensor:
    """Where the object is in any frame, and a margin around it: `[H, W]`."""
    times = np.linspace(0, 1, NUM_FRAMES)
    masks = torch.from_numpy(np.stack([object_mask(scene, float(time)) for time in times]))
    return grown(masks.amax(dim=0), MARGIN).ceil()


def hold(pipeline: Pipeline, picture: Tensor, way: Tensor) -> Reference:
    """The picture `[3, H, W]` in every frame, which may change under `way` `[H, W]` alone."""
    shape = (NUM_FRAMES, -1, -1)
    everywhere = torch.ones_like(way).expand(shape)
    still = picture.expand(NUM_FRAMES, -1, -1, -1)
    return reference_of(pipeline, still, everywhere, Clocks(ALL, ALL), way.expand(shape))


def by_the_vae(pipeline: Pipeline, frames: Tensor) -> np.ndarray:
    """Frames `[T, 3, H, W]` in [0, 1], encoded and decoded: `[T, H, W, 3]`."""
    return decoded(pipeline, pipeline.encode(frames * 2 - 1)[:, :, None])[:, 0]


def measure(
    video: np.ndarray, clip: np.ndarray, picture: np.ndarray, still: np.ndarray, way: Tensor
) -> dict[str, float]:
    """The figures of one video; see `judge`.

    video, clip: `[T, H, W, 3]`; picture, still: `[H, W, 3]`; way: `[H, W]`, 1 where it may move.
    """
    held = way.numpy() == 0
    over = np.where(held[..., None], picture, video)
    figures = {"laid over": float(np.abs(over - picture)[:, held].max(initial=0))}
    far = grown(way, FAR).numpy() == 0
    if far.any():
        for name, frames in (("video", video), ("vae", clip)):
            figures[name] = min(psnr(frame[far], picture[far]) for frame in frames)
        figures["lost"] = figures["vae"] - figures["video"]
    for near, end in pairwise(BANDS):
        band = (grown(way, near).numpy() == 0) & (grown(way, end).numpy() > 0)
        if band.any():
            name = f"{near} to {end} px: "
            figures[f"{name}video"] = psnr(video[:, band], picture[band])
            figures[f"{name}vae"] = psnr(clip[:, band], picture[band])
            figures[f"{name}video to still"] = psnr(video[:, band], still[band])
    return figures
