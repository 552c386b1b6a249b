"""A small video network that reads shape, colour and motion off clips of the small world.

Its features serve FVD and KVD there, as I3D's do for real video.
`python -m research.small_world.train.extractor --output FILE --minutes 8` trains it and
measures it on clips it has not seen; `--weights FILE` measures a trained one, and `--export FILE`
also writes it as TorchScript, as the Video Distance node and `evaluation` take it.
"""

import argparse
import logging
import math
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..world.render import render_clip
from ..world.scenes import COLOURS, MOTIONS, NUM_FRAMES, SHAPES, SIZE, Scene, Split, make_scene
from .towers import labels

log = logging.getLogger(__name__)

FEATURES = 64
PEAK_RATE = 2e-3


class SmallExtractor(nn.Module):
    """Videos `[N, T, 3, H, W]` in [0, 1] to features `[N, 64]`."""

    name = "small-world extractor (64 features)"

    def __init__(self):
        super().__init__()
        self.frame = nn.Sequential(*_conv(3, 16), *_conv(16, 32), *_conv(32, FEATURES))
        self.clip = nn.Sequential(
            nn.Conv3d(FEATURES, FEATURES, 3, stride=(2, 1, 1), padding=1),
            nn.GroupNorm(8, FEATURES),
            nn.SiLU(),
            nn.Conv3d(FEATURES, FEATURES, 3, stride=2, padding=1),
            nn.GroupNorm(8, FEATURES),
            nn.SiLU(),
            nn.Conv3d(FEATURES, FEATURES, 3, stride=2, padding=1),
        )
        self.kind = nn.Linear(FEATURES, len(SHAPES))
        self.colour = nn.Linear(FEATURES, len(COLOURS))
        self.motion = nn.Linear(FEATURES, len(MOTIONS))

    def forward(self, videos: Tensor) -> Tensor:
        """videos: `[N, T, 3, H, W]` in [0, 1]. Returns `[N, 64]`."""
        count, frames = videos.shape[:2]
        h = self.frame(videos.flatten(0, 1) * 2 - 1)  # [N*T, 64, H/8, W/8]
        h = h.unflatten(0, (count, frames)).transpose(1, 2)  # [N, 64, T, H/8, W/8]
        return self.clip(h).mean(dim=(2, 3, 4))


def _conv(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
    return conv, nn.GroupNorm(8, out_channels), nn.SiLU()


def read_attributes(
    extractor: SmallExtractor, videos: Tensor, scenes: list[Scene]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Logits `[N, classes]` and targets `[N]` of shape, colour and motion."""
    features = extractor(videos).float()
    heads = {"shape": extractor.kind, "colour": extractor.colour, "motion": extractor.motion}
    targets = labels(scenes)
    return {n: (head(features), t) for (n, head), t in zip(heads.items(), targets, strict=True)}


def accuracy(logits: Tensor, target: Tensor) -> float:
    """The share of rows whose largest logit is the target."""
    return float((logits.argmax(dim=1) == target).float().mean())


def render(scenes: list[Scene]) -> Tensor:
    """The scenes' clips `[N, T, 3, H, W]` in [0, 1]."""
    return torch.from_numpy(np.stack([render_clip(s) for s in scenes]))


@torch.no_grad()
def measure(
    extractor: SmallExtractor, *, clips: int = 1000, seed: int = 91, split: Split = "held_out"
) -> dict[str, float]:
    """Accuracy of each attribute on `clips` true clips of a seed that training did not use."""
    right: dict[str, float] = {"shape": 0.0, "colour": 0.0, "motion": 0.0}
    for start in range(0, clips, 50):
        scenes = [make_scene(seed, i, split) for i in range(start, min(start + 50, clips))]
        for name, (logits, target) in read_attributes(extractor, render(scenes), scenes).items():
            right[name] += accuracy(logits, target) * len(scenes)
    return {name: count / clips for name, count in right.items()}


def train(output: Path, *, minutes: float, batch_size: int = 16, seed: int = 3) -> None:
    """Train on true clips of all combinations for `minutes`, then save in half precision."""
    extractor = SmallExtractor()
    optimizer = torch.optim.AdamW(extractor.parameters(), lr=PEAK_RATE)
    began, step, report = time.monotonic(), 0, 0.0
    while (spent := time.monotonic() - began) < minutes * 60:
        rate = PEAK_RATE * 0.5 * (1 + math.cos(math.pi * spent / (minutes * 60)))
        for group in optimizer.param_groups:
            group["lr"] = max(rate, 1e-5)
        scenes = [make_scene(seed, step * batch_size + i, "all") for i in range(batch_size)]
        with torch.autocast("cpu", torch.bfloat16):
            read = read_attributes(extractor, render(scenes), scenes)
        loss = torch.stack([F.cross_entropy(*pair) for pair in read.values()]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        if spent - report > 20:
            report = spent
            shares = {name: accuracy(*pair) for name, pair in read.items()}
            log.info("%.0f s, step %d, loss %.3f, %s", spent, step, loss.item(), shares)
    save_file({k: v.half() for k, v in extractor.state_dict().items()}, output)


def load_extractor(path: Path) -> SmallExtractor:
    """The extractor in eval mode, frozen, float32."""
    extractor = SmallExtractor()
    extractor.load_state_dict(load_file(path))
    return extractor.eval().requires_grad_(False)


class _Exported(nn.Module):
    """Takes the layout of video networks, `[N, 3, T, H, W]` in [0, 1]."""

    def __init__(self, extractor: SmallExtractor):
        super().__init__()
        self.extractor = extractor

    def forward(self, videos: Tensor) -> Tensor:
        return self.extractor(videos.transpose(1, 2))


def export(extractor: SmallExtractor, path: Path) -> None:
    """Write a TorchScript file that takes `[N, 3, T, H, W]` in [0, 1] and gives `[N, 64]`."""
    example = torch.rand(2, 3, NUM_FRAMES, SIZE, SIZE)
    with warnings.catch_warnings():
        # A check of sizes is left out of the trace; no other code depends on values.
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(_Exported(extractor), example)
    traced.save(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--output", type=Path, help="train, and write the weights here")
    source.add_argument("--weights", type=Path, help="trained weights to measure")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--export", type=Path, help="write a TorchScript file, too")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if arguments.output:
        train(arguments.output, minutes=arguments.minutes)
    extractor = load_extractor(arguments.output or arguments.weights)
    log.info("On 1000 held-out clips: %s", measure(extractor))
    if arguments.export:
        export(extractor, arguments.export)


if __name__ == "__main__":
    main()
