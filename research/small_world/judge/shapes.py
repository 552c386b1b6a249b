"""A small classifier that names the shape of object on a single frame.

It learned on true frames alone, roughened so that it does not hang on crisp edges, and has never
seen a generated one. Its weights are in the repository, so every judgement is by the same
eyes; this makes them again, in about 80 s of a core:

`python -m research.small_world.judge.shapes --output shapes.safetensors`
"""

import argparse
import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..world.render import object_mask, render_frame
from ..world.scenes import SHAPES, SIZE, Scene, make_scene

log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).resolve().parents[3] / "assets" / "demo" / "small_world_kinds.safetensors"
SCENES = 515
STEPS = 800
BATCH = 48
PEAK_RATE = 3e-3
# Less of an object in view may be any shape.
VISIBLE = 0.6


class ShapeClassifier(nn.Module):
    """Frames `[N, 3, H, W]` in [0, 1] to logits `[N, 5]` in the order of SHAPES."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *_layer(3, 16, stride=1),
            *_layer(16, 24, stride=2),
            *_layer(24, 32, stride=2),
            *_layer(32, 48, stride=2),
        )
        self.head = nn.Linear(48, len(SHAPES))

    def forward(self, frames: Tensor) -> Tensor:
        h = self.layers(frames * 2 - 1)  # [N, 48, H/8, W/8]
        return self.head(h.amax(dim=(2, 3)))


def _layer(in_channels: int, out_channels: int, stride: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(in_channels, out_channels, 5, stride=stride, padding=2)
    return conv, nn.GroupNorm(8, out_channels), nn.SiLU()


@torch.no_grad()
def shapes_of(classifier: ShapeClassifier, frames: np.ndarray) -> list[str]:
    """The shape on each frame of `[N, H, W, 3]` in [0, 1]."""
    batch = torch.from_numpy(frames.astype(np.float32)).permute(0, 3, 1, 2)  # [N, 3, H, W]
    return [SHAPES[i] for i in classifier(batch).argmax(dim=1).tolist()]


def frame_batch(step: int, count: int) -> tuple[Tensor, Tensor]:
    """True frames `[N, 3, H, W]` with most of the object in view, and their shapes `[N]`."""
    random = np.random.default_rng((SCENES, step))
    frames, shapes = [], []
    number = step * 10 * count
    while len(frames) < count:
        scene, progress = make_scene(SCENES, number, "all"), float(random.random())
        number += 1
        if visible_share(scene, progress) > VISIBLE:
            frames.append(render_frame(scene, progress))
            shapes.append(SHAPES.index(scene.shape))
    return torch.from_numpy(np.stack(frames)), torch.tensor(shapes)


def visible_share(scene: Scene, progress: float) -> float:
    """How much of the object lies within the picture, 0 to 1."""
    dx, dy = scene.displacement
    # The same object where it is in the middle at that moment.
    whole = replace(scene, x=SIZE / 2 - dx * progress, y=SIZE / 2 - dy * progress)
    area = object_mask(whole, progress).sum()
    return float(object_mask(scene, progress).sum() / area)


def roughened(frames: Tensor, generator: torch.Generator) -> Tensor:
    """The frames with blur, grain and a cast of colour, each by chance."""
    count = len(frames)

    def chance(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    blurred = F.avg_pool2d(F.pad(frames, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    frames = torch.lerp(frames, blurred, chance(0, 1))
    cast = chance(0, 0.08) * torch.randn(count, 3, 1, 1, generator=generator)
    grain = chance(0, 0.05) * torch.randn(frames.shape, generator=generator)
    return (frames * chance(0.85, 1.1) + cast + grain).clamp(0, 1)


def train(output: Path, steps: int = STEPS) -> None:
    """Train from one fixed start and save in half precision."""
    with torch.random.fork_rng(devices=[]):
        # PyTorch's layers draw their start from the global state.
        set_seed(SCENES)
        classifier = ShapeClassifier()
    generator = torch.Generator().manual_seed(SCENES)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=PEAK_RATE)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        frames, shapes = frame_batch(step, BATCH)
        loss = F.cross_entropy(classifier(roughened(frames, generator)), shapes)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            log.info("step %d, loss %.4f", step + 1, float(loss.detach()))
    save_file({k: v.half() for k, v in classifier.state_dict().items()}, output)


def load_classifier(path: Path = WEIGHTS) -> ShapeClassifier:
    """The classifier in eval mode, frozen."""
    classifier = ShapeClassifier()
    classifier.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return classifier.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train(arguments.output, arguments.steps)


if __name__ == "__main__":
    main()
