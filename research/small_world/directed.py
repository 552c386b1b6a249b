"""Whether the demo model's motion goes where it is shown: paths that the words contradict.

`python -m research.small_world.directed --tokenizer ComfyUI/comfy/sd1_tokenizer --scenes 30`

Logs the figures of docs/motion.md#measured. A video takes about five seconds of a CPU core.
"""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dc_model import vdg
from dc_model.motion.clocks import Clocks, Reference, release_timesteps
from dc_model.motion.drag import drag
from dc_model.pipeline import Pipeline, Settings, load

from .intervals import mean_interval
from .judge.kinds import KindClassifier, kinds_of, load_classifier
from .judge.pairs import held_out
from .judge.tracker import follow
from .world.render import object_mask, render_frame
from .world.scenes import DIRECTIONS, NUM_FRAMES, OPPOSITE, SIZE, Scene

log = logging.getLogger(__name__)

CHECKPOINT = Path(__file__).parents[2] / "assets" / "demo" / "small_world.safetensors"
MARGIN = 13.0  # Pixels from the border at which a path ends.
FARTHEST = 22.0
NEAR = 4.0  # Pixels from the path that count as on it.
BATCH = 5


def contradicting(scene: Scene) -> tuple[float, float]:
    """A way (dx, dy) that the scene's words do not name, with the most room."""
    rooms = {
        "left": scene.x - MARGIN,
        "right": SIZE - MARGIN - scene.x,
        "up": scene.y - MARGIN,
        "down": SIZE - MARGIN - scene.y,
    }
    rooms.pop(scene.motion, None)
    opposite = OPPOSITE[scene.motion]
    way = max(rooms, key=lambda way: (rooms[way] >= FARTHEST and way == opposite, rooms[way]))
    length = float(np.clip(rooms[way], 0, FARTHEST))
    dx, dy = DIRECTIONS[way]
    return dx * length, dy * length


def path_of(scene: Scene) -> Tensor:
    """The contradicting path as poses `[T, 4]`."""
    dx, dy = contradicting(scene)
    steps = torch.linspace(0, 1, NUM_FRAMES)
    ones, zeros = torch.ones(NUM_FRAMES), torch.zeros(NUM_FRAMES)
    return torch.stack([scene.x + dx * steps, scene.y + dy * steps, ones, zeros], dim=1)


def reference_of(pipeline: Pipeline, scene: Scene, poses: Tensor, clocks: Clocks) -> Reference:
    """What the model shall follow."""
    picture = torch.from_numpy(render_frame(scene, 0.0))
    video, masks = drag(picture, torch.from_numpy(object_mask(scene, 0.0)), poses)
    latents = pipeline.encode(video * 2 - 1).transpose(0, 1)[None]  # [1, 4, T, h, w]
    moved = torch.nn.functional.interpolate(masks[:, None], latents.shape[-2:], mode="area")
    return Reference(latents, release_timesteps(clocks, moved.transpose(0, 1)[None]))


def make_videos(
    pipeline: Pipeline, scenes: list[Scene], references: list[Reference | None], seed: int
) -> np.ndarray:
    """Videos `[B, T, H, W, 3]` in [0, 1] of scenes of one batch, by the demo's settings."""
    pictures = torch.from_numpy(np.stack([render_frame(s, 0.0) for s in scenes])) * 2 - 1
    concat = vdg.animate(pipeline.encode(pictures), NUM_FRAMES)
    given = [reference for reference in references if reference is not None]
    joined = None
    if given:
        latents, release = (
            torch.cat(parts) for parts in zip(*((r.latents, r.release) for r in given), strict=True)
        )
        joined = Reference(latents, release)
    found = pipeline.sample(
        concat,
        [scene.caption for scene in scenes],
        pictures,
        Settings(steps=25, cfg=2.0, speed=8),
        generator=torch.Generator().manual_seed(seed),
        reference=joined,
    )
    return ((pipeline.decode(found) + 1) / 2).permute(0, 2, 3, 4, 1).numpy()


def measure(
    video: np.ndarray, scene: Scene, poses: Tensor, classifier: KindClassifier
) -> dict[str, float]:
    """Shares of one video's frames."""
    trail = follow(video, render_frame(scene, 0.0).transpose(1, 2, 0))
    away = np.linalg.norm(trail.middle - _box_middle(scene, poses), axis=1)
    kinds = kinds_of(classifier, video)
    return {
        "on_path": float(np.mean(away <= NEAR)),
        "away": float(np.nanmean(away)) if np.isfinite(away).any() else float("nan"),
        "kind": float(np.mean([kind == scene.kind for kind in kinds])),
        "ground": float(trail.ground.mean()),
        "unseen": float(np.mean(trail.area == 0)),
    }


def _box_middle(scene: Scene, poses: Tensor) -> np.ndarray:
    """The middle of the object's box along the path; a triangle's is not its own middle."""
    picture = render_frame(scene, 0.0).transpose(1, 2, 0)
    start = follow(picture[None], picture).middle[0]
    return start + (poses[:, :2] - poses[:1, :2]).numpy()


def batches(scenes: list[Scene]) -> Iterator[tuple[int, list[Scene]]]:
    for first in range(0, len(scenes), BATCH):
        yield first, scenes[first : first + BATCH]


def judge(pipeline: Pipeline, scenes: list[Scene], clocks: Clocks) -> dict[str, list[float]]:
    """Each measure's values, one for each scene."""
    classifier = load_classifier()
    found: dict[str, list[float]] = {}
    for first, some in batches(scenes):
        poses = [path_of(scene) for scene in some]
        references: list[Reference | None] = [
            reference_of(pipeline, scene, path, clocks)
            for scene, path in zip(some, poses, strict=True)
        ]
        for video, scene, path in zip(
            make_videos(pipeline, some, references, first), some, poses, strict=True
        ):
            for name, value in measure(video, scene, path, classifier).items():
                found.setdefault(name, []).append(value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--scenes", type=int, default=30)
    parser.add_argument(
        "--clocks", nargs=2, type=int, default=(940, 860), metavar=("WEAK", "STRONG")
    )
    parser.add_argument("--strength", type=float, default=1.0)
    arguments = parser.parse_args()
    pipeline = load(arguments.checkpoint, tokenizer=arguments.tokenizer)
    weak, strong = arguments.clocks
    found = judge(pipeline, held_out(arguments.scenes), Clocks(weak, strong, arguments.strength))
    for name, values in found.items():
        low, high = mean_interval([v for v in values if np.isfinite(v)])
        log.info(
            "%s: %.3f (%.3f to %.3f, n = %d)", name, np.nanmean(values), low, high, len(values)
        )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
