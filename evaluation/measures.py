"""Measures of one made clip against its input picture; a figure is their mean over clips.

| key | what it is |
|---|---|
| `pic` | perceptual input conformity, or the same with the pixels' distance |
| `first_frame` | PSNR of the first frame against the input picture, dB; equal to 8 bits is 59 |
| `motion` | the fastest twentieth of the pixels, percent of the shorter side per frame |
| `flicker` | how far frames step out of the line of their neighbours, in levels of 255 |
| `clip` | cosine of the prompt's and the frames' embeddings by CLIP, mean over frames |

Motion is the dense flow of OpenCV's DIS, summarised as VBench's dynamic degree does (Huang et al.
2024), which uses RAFT: compare it within one table only.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dc_model.metrics.pic import MissingDreamSim, perceptual_input_conformity
from dc_model.shown import shown

from .conformity import DISTANCES, open_distance
from .prompt_similarity import clip_name, open_similarity
from .protocol import Protocol

# The error of rounding to 8 bits; what is equal in a file is not more alike than that.
ROUNDING = (1 / 255) ** 2 / 12
FASTEST = 0.05
NO_CLIP = (
    "CLIP similarity to the prompt was not measured, since protocol.clip is empty; give the folder "
    "of a CLIP model."
)


@dataclass(frozen=True, slots=True)
class Measure:
    """title, unit: as tables print them. of: picture `[3, H, W]`, clip `[T, 3, H, W]` in [0, 1],
    prompt. by: what else decides the value, such as a model's name."""

    title: str
    unit: str
    of: Callable[[Tensor, Tensor, str], float]
    by: str = ""


def open_measures(protocol: Protocol, device: str) -> tuple[dict[str, Measure], dict[str, str]]:
    """The measures by key, and of those that cannot be had the reason."""
    found: dict[str, Measure] = {}
    missing: dict[str, str] = {}
    try:
        distance = open_distance(protocol.pic, device)
        title = "PIC" if protocol.pic == "dreamsim" else "1 - pixel distance"
        found["pic"] = Measure(
            title,
            "",
            lambda image, clip, _: perceptual_input_conformity(image, clip, distance),
            DISTANCES[protocol.pic],
        )
    except MissingDreamSim as error:
        missing["PIC"] = str(error)
    found["first_frame"] = Measure("First frame", "dB", lambda image, clip, _: psnr(image, clip[0]))
    try:
        import cv2

        del cv2
        found["motion"] = Measure("Motion", "% per frame", lambda _i, clip, _p: motion(clip))
    except ImportError as error:
        missing["Motion"] = (
            f"Motion was not measured, since OpenCV cannot be imported ({shown(error)}): python -m "
            "pip install opencv-python-headless."
        )
    found["flicker"] = Measure("Flicker", "levels", lambda _i, clip, _p: flicker(clip))
    if protocol.clip:
        likeness = open_similarity(protocol.clip, device)
        found["clip"] = Measure(
            "CLIP similarity",
            "cosine",
            lambda _, clip, prompt: likeness(clip, prompt),
            clip_name(protocol.clip),
        )
    else:
        missing["CLIP similarity"] = NO_CLIP
    return found, missing


def psnr(image: Tensor, frame: Tensor) -> float:
    """Peak signal to noise ratio of two pictures in [0, 1], dB; at most 59, as rounding allows."""
    error = float((image.double() - frame.double()).square().mean())
    return -10 * math.log10(error + ROUNDING)


def motion(clip: Tensor) -> float:
    """Mean over frames of the fastest 5 % of the pixels, percent of the shorter side per frame."""
    import cv2

    grey = (clip.double() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
    frames = (grey * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    if len(frames) < 2:
        return 0.0
    flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow_of.setFinestScale(0)
    speeds = []
    for before, after in pairwise(frames):
        flow = flow_of.calc(np.ascontiguousarray(before), np.ascontiguousarray(after), None)
        length = np.sort(np.hypot(flow[..., 0], flow[..., 1]).ravel())
        speeds.append(length[-max(1, round(len(length) * FASTEST)) :].mean())
    return float(np.mean(speeds)) / min(frames.shape[1:]) * 100


def flicker(clip: Tensor) -> float:
    """Mean of `|x[t-1] - 2 x[t] + x[t+1]| / 2` in levels of 255; a steady change gives 0."""
    if len(clip) < 3:
        return 0.0
    bent = clip[:-2] - 2 * clip[1:-1] + clip[2:]
    return float(bent.double().abs().mean()) / 2 * 255


def titles(measures: Mapping[str, Measure]) -> dict[str, str]:
    """Column headings with units."""
    return {k: f"{m.title}, {m.unit}" if m.unit else m.title for k, m in measures.items()}
