"""A small video network that reads kind, colour and motion off clips of the small world.

Its features serve FVD and KVD there, as I3D's do for real video.
`python -m training.small_world.extractor --output extractor.safetensors --minutes 5`
"""

import argparse
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .render import render_clip
from .scenes import COLOURS, KINDS, MOTIONS, Scene, make_scene
from .train_towers import labels

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
        self.kind = nn.Linear(FEATURES, len(KINDS))
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


def attribute_loss(
    extractor: SmallExtractor, videos: Tensor, scenes: list[Scene]
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of the three attributes, and their accuracies."""
    features = extractor(videos).float()
    kind, colour, motion = labels(scenes)
    heads = {"kind": (extractor.kind, kind), "colour": (extractor.colour, colour)}
    heads["motion"] = (extractor.motion, motion)
    losses, accuracy = [], {}
    for name, (head, target) in heads.items():
        logits = head(features)
        losses.append(F.cross_entropy(logits, target))
        accuracy[name] = float((logits.argmax(dim=1) == target).float().mean())
    return torch.stack(losses).sum(), accuracy


def train(output: Path, *, minutes: float, batch_size: int = 16, seed: int = 3) -> None:
    """Train on true clips of all combinations for `minutes`, then save."""
    extractor = SmallExtractor()
    optimizer = torch.optim.AdamW(extractor.parameters(), lr=PEAK_RATE)
    began, step, report = time.monotonic(), 0, 0.0
    while (spent := time.monotonic() - began) < minutes * 60:
        rate = PEAK_RATE * 0.5 * (1 + math.cos(math.pi * spent / (minutes * 60)))
        for group in optimizer.param_groups:
            group["lr"] = max(rate, 1e-5)
        scenes = [make_scene(seed, step * batch_size + i, "all") for i in range(batch_size)]
        videos = torch.from_numpy(np.stack([render_clip(s) for s in scenes]))
        with torch.autocast("cpu", torch.bfloat16):
            loss, accuracy = attribute_loss(extractor, videos, scenes)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        if spent - report > 20:
            report = spent
            log.info("%.0f s, step %d, loss %.3f, %s", spent, step, loss.item(), accuracy)
    save_file(extractor.state_dict(), output)


def load_extractor(path: Path) -> SmallExtractor:
    """The extractor in eval mode, frozen."""
    extractor = SmallExtractor()
    extractor.load_state_dict(load_file(path))
    return extractor.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(arguments.output, minutes=arguments.minutes)


if __name__ == "__main__":
    main()
